"""Proof: every hidden size at once, by tracing a layer over symbolic sizes.

Belongs here: symbols/ (a layer over symbols), regions/ (sets of sizes), their wording, and the mode `proof`.
May import: base to observers.
"""
