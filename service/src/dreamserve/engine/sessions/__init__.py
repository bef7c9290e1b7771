"""The sessions: where they live, how they step, and what becomes of them."""
