"""Commands: the edge, one module a command.

Belongs here: `arguments(parser)` and `run(chosen)` of each command, and nothing that another room could use.
May import: every room.
"""
