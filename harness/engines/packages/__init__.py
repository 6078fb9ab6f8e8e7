"""A package of the index whose ops are audited: how it is fetched, and which of its modules register ops.

May import: the harness's cache and pip of ``engines/released``, and the rooms before ``engines``.
"""
