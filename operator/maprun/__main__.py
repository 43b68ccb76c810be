"""`python -m maprun`: the same as the command `maprun`."""

from maprun.cli import main

main()
