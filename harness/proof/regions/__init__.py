"""Regions: sets of hidden sizes, their arithmetic, and the partition into regions of one behaviour."""
