"""Training of V and M by Lightning, and of C by evolution in dreams."""
