"""`python -m backmix.cli`, as launchers of several processes start it."""

from backmix.cli import main

main()
