"""Layer: the NVFP4 format, weights, the experts as one torch op, the layer, its oracle, and the subject made of them."""
