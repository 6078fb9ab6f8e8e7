"""Variants: changes of the given samples, each of one kind, that an op must bear."""
