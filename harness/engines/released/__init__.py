"""Engines whose releases are fetched from the package index and judged in an environment of their own: vLLM and SGLang.

``engine.py`` has the description of such an engine. Everything here but the boot script runs in the harness's own Python.
"""
