"""Symbols: a real layer, built at sample sizes, as one layer over symbolic widths."""
