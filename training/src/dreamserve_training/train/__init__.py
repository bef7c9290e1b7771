"""Training of V and M with Lightning, and of C by evolution in dreams."""
