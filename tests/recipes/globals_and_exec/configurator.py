"""Run by exec in the script: `--name=value` overwrites a global."""

import sys
from ast import literal_eval

for word in sys.argv[1:]:
    name, _, value = word.removeprefix("--").partition("=")
    if name not in globals():
        raise ValueError(f"unknown setting: {name}")
    try:
        globals()[name] = literal_eval(value)
    except (SyntaxError, ValueError):
        globals()[name] = value
