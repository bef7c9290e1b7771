"""Planners: generators that are independent of world models (see `base`), a module for each."""
