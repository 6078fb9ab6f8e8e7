"""The log: where it comes from, its lines, which of them are one failure, and a failure's text."""
