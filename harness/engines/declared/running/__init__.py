"""Captured: the Python bodies of FlashInfer's ops, with stub kernels, registered with torch in a namespace of our own."""
