"""How messages of torch name a line of the user's outside a traceback."""

import re

# The user's line in a message of torch: of a guard on data, and of a function that is compiled again and again.
NAMED = (
    re.compile(
        r"Caused by: (?P<code>(?!\()\S.{0,200}?) # (?P<file>[^\s:()]+\.py):(?P<line>\d+) in (?P<function>[\w.<>]+)"
    ),
    re.compile(
        r"Caused by: \((?P<file>(?!_|(?:torch|nn|fx|ao|utils)/)[^\s:()]+\.py):(?P<line>\d+) in (?P<function>[\w.<>]+)\)"
        r"(?P<code>)"
    ),
    re.compile(
        r"(?:[Oo]ccurs|[Rr]aised|[Ff]ails|[Cc]rashes|[Hh]appens|[Tt]hrown) (?:at|in) `?(?P<file>[^\s`:()]+\.py)`?"
        r"(?:,? line |:)(?P<line>\d+)(?P<function>)(?P<code>)"
    ),
    re.compile(
        r"Recompiling function (?P<function>[\w.<>]{1,100}) in (?P<file>(?:[A-Za-z]:)?[^\s:()]+\.py):(?P<line>\d+)(?P<code>)"
    ),
    re.compile(r"function: '(?P<function>[^']{1,100})' \((?P<file>[^\s:()]+\.py):(?P<line>\d+)\)(?P<code>)"),
)
