"""The one error a collector raises on purpose."""


class CollectorError(Exception):
    """The source cannot be read at all now. The text is one line, for people."""
