"""Accounts of one failure: which failures of a log are one, how often it happened, in which processes, and at which line.

May import: the log, the known kinds and the diagnosis. Nothing of the readers.
"""
