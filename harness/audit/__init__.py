"""Audit: one registered op, whoever made it.

Belongs here: samples and variants of them, the rows, one check a property (checks/), the workers' side.
May import: base to output.
"""
