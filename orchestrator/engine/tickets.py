"""Tickets: what Tune holds in place of an attempt, so that it knows nothing of cells."""

from __future__ import annotations


class Tickets:
    """Numbers from 1. The last ticket of a cell is the one that counts."""

    def __init__(self) -> None:
        self._cells: dict[int, str] = {}
        self._current: dict[str, int] = {}

    def issue(self, cell: str) -> int:
        """A new ticket for `cell`."""
        ticket = len(self._cells) + 1
        self._cells[ticket] = cell
        self._current[cell] = ticket
        return ticket

    def holder(self, ticket: int) -> str | None:
        """The cell that the ticket stands for; None when the cell has a newer one."""
        cell = self._cells[ticket]
        return cell if self._current[cell] == ticket else None
