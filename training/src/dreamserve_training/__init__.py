"""Train world models and export them as bundles that dreamserve serves."""

__version__ = "0.1.0"
