"""The entry point of `python -m backmix`, which runs the command line."""

from backmix.cli import main

main()
