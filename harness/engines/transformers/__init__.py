"""transformers: the MoE blocks of Qwen3-MoE, Mixtral, gpt-oss and Nemotron-H as subjects, in each experts implementation.

Belongs here: which case a block can be, its configuration, weights and oracle. May import: base to subjects, torch and
transformers. ``models`` imports neither, since the selection needs it before any case runs.
"""
