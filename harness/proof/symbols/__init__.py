"""Symbols: a layer over symbolic widths, made from real layers that were built at sample sizes.

formula           fits a formula of the sizes to numbers
layer_formulas    does so for every number and tensor of a layer
structures        groups the sample sizes at which a layer has the same structure
symbolic_layer    a fresh layer with every varying number replaced by its formula over symbols
trace             runs that layer over symbols, or a real layer at plain sizes
contract          compares an op's fake with its real implementation inside such a run
"""
