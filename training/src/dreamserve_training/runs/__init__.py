"""What makes a long run reliable: records, locks, signals, workers and checked options."""
