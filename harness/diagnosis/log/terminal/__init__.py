"""What a terminal makes of long lines: it breaks them at its width, in the middle of words, and a copy keeps the breaks."""
