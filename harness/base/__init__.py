"""Base: what every room may need and what needs no torch.

Belongs here: errors, the project's settings, shared options, the cache folder, silence, loading what a user names, lines of source.
May import: the standard library only.
"""
