"""The in-tree subject: NVFP4, weight preparation, the routed experts as one op, the padded layer and its oracle."""
