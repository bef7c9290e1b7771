"""Planners: each on a page, each a generator that knows nothing of worlds (see `base`)."""
