"""What an answer quotes of a failure: its message."""
