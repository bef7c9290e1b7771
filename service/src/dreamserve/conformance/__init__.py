"""Holds a bundle to the whole contract of `docs/bundle.md`: see `suite`."""
