"""The audit of one registered torch op, anybody's: what holds and what does not, on samples and variants of them."""
