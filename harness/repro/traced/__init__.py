"""Scripts of a trace over symbolic sizes: the text of formulas, where a layer holds what varies, and the parts of a script."""
