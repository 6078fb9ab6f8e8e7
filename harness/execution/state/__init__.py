"""State: what a layer can change in torch, in Python and in the process, read before it and put back after it.

Belongs here: tables of settings with what reads and what restores each. May import: base.
"""
