"""The Python SDK of dreamserve."""
