"""The audit of a classifier, which tests whether it looks at the object or at the background."""
