"""Findings: what was seen, as plain data.

Belongs here: Finding and Verdict, the kinds of findings, who made a width, reading an exception.
May import: base to execution.
"""
