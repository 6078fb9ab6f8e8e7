"""What is known of failures: their kinds and patterns, the public bugs, and which releases have these."""
