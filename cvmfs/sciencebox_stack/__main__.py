"""`python -m sciencebox_stack`: the command where the package is not installed."""

from .cli import main

main()
