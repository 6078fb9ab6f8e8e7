"""Views of tensors that are not contiguous, and kernels that want contiguous memory.

Belongs here: readers of such a failure, eager or traced, and what the text shows of who made the tensor. May import: what
readers may.
"""
