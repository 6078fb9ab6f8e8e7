"""Regions: the sets of sizes at which a layer behaves the same.

points      many sizes at once, classes without an upper bound among them
arithmetic  the operations in torch's guards, on points
conditions  where a guard holds
grid        which sizes belong to which regions, and how many
single      regions of one size, which show that the size is fixed to a number
partition   traces a layer until its regions cover every size
"""
