"""Jobs a second through a MapRun, against the floor of the same cluster: `python -m bench.jobs --help`."""
