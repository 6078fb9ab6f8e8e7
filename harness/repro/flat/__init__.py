"""A layer by its source: the class with its bases flattened into one, branches that the case decides folded away."""
