"""Proofs: a layer's shapes, strides and dtypes at every hidden size at once."""
