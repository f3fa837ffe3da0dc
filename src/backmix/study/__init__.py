"""The study of foregrounds and backgrounds: the effect of a prior between them, and the effect of BackMix on it."""
