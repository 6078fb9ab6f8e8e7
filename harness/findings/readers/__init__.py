"""Readers: each recognises one family of exceptions and writes the finding; None where the exception is another one."""
