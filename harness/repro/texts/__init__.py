"""Texts that scripts are made of: checks, ways to run a layer, and what is varied."""
