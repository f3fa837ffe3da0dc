"""The benchmark: its protocols, its recipes, its grid of trainings and its tables."""
