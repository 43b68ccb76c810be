"""Rows a second through the whole planning of a run, against the bare library: `python -m bench.readers --help`."""
