"""Samples: arguments for a captured op, the engine's own or made up from its schema."""
