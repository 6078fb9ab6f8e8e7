"""The harness tested by the faults of a corpus: what is run, what torch's own tools see, and what it amounts to."""
