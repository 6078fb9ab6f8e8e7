"""Memory: what a layer can reach, what a call writes, what a graph reads from outside, and what fresh memory holds.

Belongs here: everything that looks at storages and addresses. May import: base to ops, and the evidence's comparison of bits.
"""
