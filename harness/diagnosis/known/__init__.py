"""What is known of failures: their kinds, patterns and public bugs with the releases that have them; padding rules; models named."""
