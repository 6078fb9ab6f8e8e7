"""Subjects: what is tested.

Belongs here: the Subject protocol, how a subject is found by name, the template of a new one.
May import: base to ops.
"""
