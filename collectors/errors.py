"""The errors a collector raises on purpose."""


class CollectorError(Exception):
    """The source cannot be read at all now. The text is one line, for people."""


class NoAnswer(CollectorError):
    """It was asked, and has not answered in time: it may hang."""


class Outdated(CollectorError):
    """This process will never read it again; another one may."""
