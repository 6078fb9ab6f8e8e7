"""Samples: arguments for the ops that FlashInfer declares."""
