"""Errors of runs. All are ValueError: the user changes something and calls again."""


class RunError(ValueError):
    """A run that cannot begin or go on."""


class MismatchError(RunError):
    """The files of a run were made with other settings or data."""


class LockedError(RunError):
    """Another process works in the same directory."""


class WorkerError(RunError):
    """A worker process ended abruptly."""


class DivergedError(RunError):
    """A loss, gradient or fitness that is not finite."""
