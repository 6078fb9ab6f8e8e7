"""Ranks: one layer on several processes, each a rank with its own shard, and one verdict from what they answer.

Belongs here: the team of ranks, a rank's side of it, the verdict of a team, the run of a plan on teams.
May import: base to workers.
"""
