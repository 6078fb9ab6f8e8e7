"""Base: helpers that any room may use and that need no torch.

Belongs here: errors, the project's settings, shared options, the cache folder, quiet logging, imports, source lines.
May import: the standard library only.
"""
