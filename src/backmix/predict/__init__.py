"""Predictions for image files: finding, reading and answering them, and writing the answers. torch is imported late."""
