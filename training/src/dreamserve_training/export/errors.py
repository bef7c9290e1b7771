"""Why a world was not written."""


class ExportError(ValueError):
    """The world must not be served as it is; nothing was written. The message says why."""
