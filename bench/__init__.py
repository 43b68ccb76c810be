"""Measurements of MapRun on this machine: each is a command, and prints what it measured and against what."""
