"""Takes secrets out of lines before anybody sees them, and what would forge lines in them.

Nothing here is meant to log a secret. This is for what others say: an error of a library that
quotes a header, an address with a password in it, the last words of an engine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

HIDDEN = "***"
SHORTEST = 4  # characters; whatever is shorter is no secret, and would take words out of lines

_NAMES = r"(?:api[-_]?key|access[-_]?token|auth[-_]?token|token|secret|password|passwd|signature)"
_APART = r"""(?>['"]?\s*[:=,]\s*(?:b(?=['"]))?['"]?)"""
# Where a word begins, also after what Python or JSON write for the end of a line.
_BEGINS = r"(?:\b|(?<=\\[abfnrtv]))"
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    # A scheme with what looks like a token; "a bearer token" is no secret.
    (re.compile(rf"(?i){_BEGINS}(bearer\s+)(?=[^\s'\",;]*\d)[^\s'\",;]{{8,}}"), rf"\1{HIDDEN}"),
    (
        re.compile(
            rf"(?i){_BEGINS}((?:proxy-)?authorization"
            + _APART
            + rf")((?:basic|bearer|token|digest)\s+)?+(?!{re.escape(HIDDEN)})[^\s'\",;]+"
        ),
        rf"\1\2{HIDDEN}",
    ),
    (
        re.compile(
            rf"(?i){_BEGINS}((?:x-api-key|api-key|x-goog-api-key|x-auth-token|(?:set-)?cookie)"
            + _APART
            + r")[^\s'\",]+"
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"(?<=://)[^/\s'\"@]+@"), f"{HIDDEN}@"),
    (re.compile(rf"(?i)([?&][\w-]*?(?:{_NAMES}|key|sig)=)[^&\s#'\"]+"), rf"\1{HIDDEN}"),
    (
        # From where the dashes begin, and from nowhere else: of a line of dashes each would be one.
        re.compile(
            rf"(?i)(?<!-)(-{{2,}}+(?:\w[\w-]{{0,62}}-)?{_NAMES}(?![\w-])[\s=,'\"]+)[^\s,'\"]+"
        ),
        rf"\1{HIDDEN}",
    ),
    (
        re.compile(_BEGINS + r"((?:[A-Z0-9]+_)*(?:API_KEY|TOKEN|SECRET|PASSWORD)=)[^\s,;'\"]+"),
        rf"\1{HIDDEN}",
    ),
)
# One search that finds next to nothing, before seven.
_ANY = re.compile(
    r"(?i)bearer|authorization|key|cookie|token|secret|passw|sig|@",
)

# What begins a line, or makes a terminal do something: C0, DEL, C1, separators, and what turns the
# direction of writing around.
_CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


# Names of variables and headers whose values are nobody's business.
_SECRET_NAME = re.compile(
    r"(?i)(?:.*[-_])?(?:token|secret|password|passwd|(?:api|access|secret|auth)[-_]?key)"
    r"|(?:proxy-)?authorization|cookie"
)


def is_secret(name: str) -> bool:
    """Is this the name of a variable, or of a header, whose value is a secret?"""
    return _SECRET_NAME.fullmatch(name) is not None


class Redact:
    """Called with a text, gives it without the `secrets` and without what looks like one."""

    def __init__(self, secrets: Iterable[str | None] = ()) -> None:
        self._secrets: set[str] = set()
        self._known: re.Pattern[str] | None = None
        self.hide(secrets)

    def hide(self, secrets: Iterable[str | None]) -> None:
        """These are secrets, too."""
        new = {s for s in secrets if s is not None and len(s) >= SHORTEST} - self._secrets
        if new:
            self._secrets |= new
            words = "|".join(re.escape(s) for s in sorted(self._secrets, key=len, reverse=True))
            self._known = re.compile(rf"(?:(?<!\w)|(?<=\\[abfnrtv]))(?:{words})(?!\w)")

    def __call__(self, text: str) -> str:
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        if _ANY.search(text):
            for pattern, instead in _PATTERNS:
                text = pattern.sub(instead, text)
        return text


def plain(text: str) -> str:
    """On one line, and harmless to look at: what it must not hold is written as an escape."""
    return _CONTROL.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    short = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}.get(found[0])
    code = ord(found[0])
    return short or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")


def escaped(json: str) -> str:
    """The same of a text that is JSON already: reading it gives what was written."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", json)
