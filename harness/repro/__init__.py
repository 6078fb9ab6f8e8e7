"""Repro: from a failing case to a small script that fails the same way, in a process of its own.

Belongs here: the script and its parts, the run that proves it, the shrinker, the last run's records, the bug report.
May import: base to output, without audit, selftest and engines.
"""
