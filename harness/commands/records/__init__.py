"""The commands that read records: they merge, compare and show runs, and draft waivers."""
