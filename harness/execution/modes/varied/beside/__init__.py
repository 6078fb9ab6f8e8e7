"""Beside a plain call: graphs, aliases of outputs, what a layer has beside its state_dict, and the layers of several ranks.

Belongs here: what the modes of the family varied need for one of their groups. May import: what those modes may.
"""
