"""Declared: what FlashInfer's source says of its ops, read and not run."""
