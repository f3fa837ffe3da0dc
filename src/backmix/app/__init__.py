"""The web page of `backmix app`: a run, tried on pictures."""
