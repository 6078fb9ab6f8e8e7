"""Selftest: the harness judged by planted faults.

Belongs here: the corpus' entries, trials, torch's own tools beside them, the score, the kill matrix.
May import: base to audit.
"""
