"""What the text of one statement is: whole or a part of it, a residual's add, a product with scales.

Belongs here: what the code of a line alone shows, without the message. May import: only itself.
"""
