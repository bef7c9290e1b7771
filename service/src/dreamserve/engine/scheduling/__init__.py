"""Who runs when: steps first, the rest in slices between them."""
