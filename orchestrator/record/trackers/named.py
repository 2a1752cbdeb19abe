"""Named values for a service that refuses some names or values: one by one, so that the others arrive."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any

TRIES = 3
"""Refusals after which a value is left out for good; messages of which nothing arrived, before we give up."""
PATIENCE_S = 5.0
"""A refusal is quick. What takes longer to fail is a service that does not answer."""
_LONGEST = 200


class NamedValues:
    """What is sent to one run; `say` is told, once for each name, what goes by another one or is left out."""

    def __init__(self, send: Callable[[dict[str, Any]], object], say: Callable[[str], object]) -> None:
        self._send, self._say = send, say
        self._called: dict[str, str] = {}
        self._refused: dict[str, int] = {}
        self._in_vain = 0

    def put(self, values: Mapping[str, Any]) -> None:
        """Send the values at once, else each for itself, under a plainer name where that is taken.

        Raises the service's own error when it does not answer, or takes nothing at all.
        """
        left = {name: value for name, value in values.items() if self._refused.get(name, 0) < TRIES}
        began = time.monotonic()
        try:
            if left:
                self._send({self._called.get(name, name): value for name, value in left.items()})
        except Exception:
            arrived = 0
            for name, value in left.items():
                if time.monotonic() - began > PATIENCE_S:
                    raise
                arrived += self._alone(name, value, {*values, *self._called.values()})
            self._in_vain = 0 if arrived else self._in_vain + 1
            if self._in_vain == TRIES:
                raise

    def _alone(self, name: str, value: Any, used: set[str]) -> bool:
        """Return whether the value has arrived."""
        why = ""
        for called in dict.fromkeys((self._called.get(name, name), _plain(name, used))):
            try:
                self._send({called: value})
            except Exception as error:
                why = why or " ".join(str(error).split())[:200] or type(error).__name__
                continue
            if called != self._called.get(name, name):
                self._called[name] = called
                self._say(f"{name!r} goes by {called!r} there: {why}")
            return True
        self._refused[name] = self._refused.get(name, 0) + 1
        if self._refused[name] == 1:
            self._say(f"{name!r} = {str(value)[:60]} is left out: {why}")
        return False


def _plain(name: str, used: set[str]) -> str:
    """Return the name in signs that every service takes; not one that is used already."""
    plain = re.sub(r"[^A-Za-z0-9_./ -]+", "_", name).strip("/. ")[:_LONGEST] or "value"
    if plain == name:
        return name
    while plain in used:
        plain += "_"
    return plain
