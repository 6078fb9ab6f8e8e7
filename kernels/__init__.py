"""The in-tree subject: the NVFP4 format, padded weights, the routed-experts op, the layer and its oracle."""
