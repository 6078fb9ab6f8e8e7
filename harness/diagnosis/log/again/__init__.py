"""What a log has again and again: most of it is only counted."""
