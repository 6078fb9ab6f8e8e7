"""Arguments for a Python function: what their names suggest at first, then what the function's refusals ask for.

May import: the audit's hints and its calls, and the rooms before ``audit``.
"""
