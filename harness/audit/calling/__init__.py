"""Calling an audited op: real and fake calls, the attempts on a sample, and what an op demands of its arguments.

May import: the audit's samples and tensors, and the rooms before ``audit``.
"""
