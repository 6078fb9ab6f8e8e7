"""Formats for machines: JUnit, CTRF, SARIF, GitHub's annotations and job summary.

Each is a function from results to text. `harness.output.formats.items` makes one form of the results of every command.
"""
