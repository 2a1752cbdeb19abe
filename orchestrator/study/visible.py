"""Text that somebody else has written, so that it can be shown: nothing in it acts, hides or has no end."""

from __future__ import annotations

import json
import re

MOST_SHOWN = 2000
"""Characters of a line for people: a reason that quotes a whole array is cut, its beginning says enough."""
_ACTING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Control characters but tab and line feed; marks that turn the direction of text or are not seen;
surrogates, which no encoding has."""


def visible(text: str) -> str:
    """Return the text with what would act on a terminal, or hide, as Python writes it: `\\x1b`, `\\u202e`."""
    return _ACTING.sub(lambda found: ascii(found[0])[1:-1], text)


def visible_json(text: str) -> str:
    """Return a JSON document with such characters escaped: the same document."""
    return _ACTING.sub(lambda found: json.dumps(found[0])[1:-1], text)


def gist(text: str, most: int = 300) -> str:
    """Return the line of an error that says what it is: its first one, of a traceback the last."""
    lines = text.strip().splitlines() or [""]
    line = lines[-1 if lines[0].startswith("Traceback") else 0]
    return line if len(line) <= most else f"{line[:most]}…"


def shortened(text: str, most: int = MOST_SHOWN) -> str:
    """Return the text with each of its lines cut after `most` characters."""
    if len(text) <= most:
        return text
    return "\n".join(
        line if len(line) <= most else f"{line[:most]}… ({len(line):,} characters)"
        for line in text.split("\n")
    )
