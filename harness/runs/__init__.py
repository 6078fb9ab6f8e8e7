"""Runs: what a run planned, its shard, what of it is done, and its records as they are read back.

Belongs here: the lines of a records file other than results, shards, resuming, and the comparison of runs.
May import: base to workers. No torch and no rich: `harness merge` reads a million records.
"""
