"""How many of the known images a threshold accepts where nobody says otherwise."""

ACCEPT = 0.95
"""Share of new known images that is to be accepted, in expectation."""
