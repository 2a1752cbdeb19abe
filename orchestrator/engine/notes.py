"""What happened and is worth a line to the people who watch."""

from __future__ import annotations

from collections import deque

_KEPT = 200


class Notes:
    """Lines in their order. Not thread-safe: the conductor's lock guards it."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=_KEPT)
        self._unseen: list[str] = []

    def add(self, text: str) -> None:
        """One more line."""
        self._lines.append(text)
        self._unseen.append(text)

    def latest(self, count: int) -> tuple[str, ...]:
        """The last lines, oldest first."""
        return tuple(self._lines)[-count:]

    def unseen(self) -> list[str]:
        """The lines since the last call."""
        unseen, self._unseen = self._unseen, []
        return unseen


def last_line(text: str) -> str:
    """What an error says in the end."""
    return text.strip().splitlines()[-1] if text.strip() else text
