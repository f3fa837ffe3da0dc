"""Answers about files: what is named, what is read, what is written and where. Nothing here imports torch at once."""
