"""The web page of `backmix app`, on which a person tries a run on pictures."""
