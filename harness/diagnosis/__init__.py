"""From a text that holds a torch failure to what it is.

Belongs here: reading logs, the kinds of failure and the public bugs (data), and what sizes in a message mean.
Imports from base and matrix alone, and never torch: an answer is there before torch would be.
"""
