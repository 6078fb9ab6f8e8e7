"""Captured: FlashInfer's Python bodies, run around stub kernels, registered as private ops."""
