"""From the start of the operator to its first look at a run: `python -m bench.start --help`."""
