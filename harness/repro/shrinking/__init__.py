"""Shrinking: the fields of a case, and the search for the smallest one that keeps the finding."""
