"""Findings: what was observed, as plain data.

Belongs here: Finding and Verdict, the kinds of findings, the origin of a width, and an exception as a finding (readers/).
May import: base to execution.
"""
