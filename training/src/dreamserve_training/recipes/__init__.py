"""One module per world; each defines a RECIPE."""
