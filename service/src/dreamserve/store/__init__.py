"""Stores of session records, which outlive a process: `base` is their interface."""
