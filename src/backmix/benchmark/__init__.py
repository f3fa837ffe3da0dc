"""The benchmark: protocols, recipes, a grid of trainings, its tables."""
