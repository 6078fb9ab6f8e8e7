"""Declared: what FlashInfer's source says about its ops. It is read, not run."""
