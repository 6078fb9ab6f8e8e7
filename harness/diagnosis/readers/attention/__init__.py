"""Attention: sizes that count positions, heads or what a cache holds, where no width of a layer with experts can meet.

Belongs here: readers of lines of attention and of positions. May import: what readers may.
"""
