"""Labels as they stand in a line of metrics. An engine may call a model anything, even what is no
text: that must neither cost us the page nor make it long."""

from __future__ import annotations

from hashlib import sha256

LONGEST = 200  # characters of a label


def clean(text: str) -> str:
    """`text` as a label, not too long and in UTF-8. What had to be changed is told from others that
    would become the same by a few digits of its hash."""
    if len(text) <= LONGEST:
        try:
            text.encode()
            return text
        except UnicodeEncodeError:
            pass
    digits = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{text[: LONGEST - 13].encode('utf-8', 'replace').decode()}~{digits}"
