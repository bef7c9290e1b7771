"""The contract of dreamserve: requests, results, errors and verbs, each declared once.

The service validates with these declarations and generates its documentation from them; the engine
and the Python SDK use the same dataclasses. The package imports only numpy.
"""
