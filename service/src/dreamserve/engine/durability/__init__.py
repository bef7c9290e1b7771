"""Sessions that survive: `gate`, the engine's side, and `committer`, the store's thread."""
