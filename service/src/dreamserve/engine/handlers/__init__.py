"""The verbs' implementations, a module for each. `scheduling` decides when they run."""
