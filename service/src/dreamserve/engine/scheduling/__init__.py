"""The order of requests: steps first, long work in slices between them."""
