"""Importing a module of this folder captures the engine of its name. A worker names it as what registers the ops."""
