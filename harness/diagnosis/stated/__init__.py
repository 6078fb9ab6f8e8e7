"""What a text states in words: a padding, a multiple, a kernel, a setting that is on or off, and what follows for an answer.

Belongs here: what lines of a log say beside a failure. May import: the log, the known kinds and widths. Nothing of the readers.
"""
