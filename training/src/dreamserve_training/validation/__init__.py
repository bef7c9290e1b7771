"""What a world must get right before anyone dreams in it, check by check."""
