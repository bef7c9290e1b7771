"""One module a world; each holds a RECIPE."""
