"""Diagnosis: from a text that holds a torch failure, or from an exception, to what it is.

Belongs here: reading logs, the kinds of failure and the public bugs (data/), what sizes in a message mean. Nothing imports torch.
May import: base and matrix.
"""
