"""FlashInfer: its NVFP4 kernels behind one op, as subjects. Imports from layer."""
