"""Does a classifier look at the object? Counterfactual pictures, what a model says of them, and figures from that."""
