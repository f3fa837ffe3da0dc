"""`python -m backmix` is the command line."""

from backmix.cli import main

main()
