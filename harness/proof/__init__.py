"""Proof: every hidden size at once.

Belongs here: symbols/ (a layer over symbols), regions/ (sets of sizes), the words for them, and the mode `proof`.
May import: base to observers.
"""
