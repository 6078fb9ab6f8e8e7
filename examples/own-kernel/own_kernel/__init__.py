"""A package with a kernel of its own, and the layer around it."""
