"""Apply a trained network to images: scores, decisions, and maps of the evidence for a class."""
