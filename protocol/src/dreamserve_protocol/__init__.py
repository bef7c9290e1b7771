"""The contract of dreamserve: requests, results, errors and verbs, each declared once.

The service validates with these declarations and documents itself by them, its engine works on
them, and the Python SDK sends and returns them. Only numpy is needed to import them.
"""
