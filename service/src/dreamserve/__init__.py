"""Serve world models: stateful, batched dream sessions."""

__version__ = "0.1.0"
