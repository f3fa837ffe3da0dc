"""The entry point `python -m backmix.cli`, which launchers of several processes use."""

from backmix.cli import main

main()
