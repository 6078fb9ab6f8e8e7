"""The commands of the console command ``harness``, one module each."""
