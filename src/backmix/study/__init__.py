"""The study of foregrounds and backgrounds: what a prior between them does, and what BackMix does to it."""
