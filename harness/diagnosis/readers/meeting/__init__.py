"""Two sizes that meet: an add, a copy, and what else a text speaks of that has sizes of its own.

Belongs here: what ``readers.sizes`` and its neighbours ask of one kind of meeting. May import: what readers may.
"""
