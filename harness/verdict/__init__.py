"""Verdict: one case in one mode, from start to end.

Belongs here: the judge, known bugs, waivers, bisection of the compiler, the command that reproduces a verdict.
May import: base to proof.
"""
