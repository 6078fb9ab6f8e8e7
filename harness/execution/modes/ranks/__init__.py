"""The modes of real ranks: each rank makes the same calls at the same time, however wrong an output is.

A call that one rank alone makes would wait for ever in its collective. So nothing here depends on a call's values.
"""
