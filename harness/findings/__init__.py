"""Findings: what was observed, as plain data.

Belongs here: Finding and Verdict, the kinds of findings, the origin of a width, and reading an exception (readers/).
May import: base to execution.
"""
