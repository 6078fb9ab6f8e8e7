"""Nightly: the history of many runs, and the page that shows it.

Belongs here: reading records of any run, the history file, comparing nights, the static page.
May import: base to output. The standard library only: a page is made on a machine without torch.
"""
