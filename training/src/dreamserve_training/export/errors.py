"""The error of export."""


class ExportError(ValueError):
    """The world cannot be exported; nothing was written. The message gives the reason."""
