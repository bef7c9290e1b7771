"""Sessions: storage, stepping, restarts and serialisation."""
