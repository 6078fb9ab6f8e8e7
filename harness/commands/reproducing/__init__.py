"""What `harness repro` reproduces: a case by its id, by options, by a record of a file, or of the last run."""
