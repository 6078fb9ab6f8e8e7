"""Variations: what a finding about a varied call says.

Belongs here: the kind and the cause of each variation, how far a layer is right, and where its output is wrong.
May import: base to findings, and the other observers' accounts of a difference.
"""
