"""What a server of the page leaves to the next one, so that open pages go on: in a file of its user alone.

The token is not in it: an address that was printed once opens nothing at the next server.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import tempfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

_OTHERS = 0o077


@dataclass(frozen=True)
class Secrets:
    """What sessions rest on.

    Attributes:
        key: signs them; base: the path that all pages lie below; until: when the last one ends by itself, in
            seconds since 1970; ended: the names of those that were ended before that.
    """

    key: bytes
    base: str
    until: int = 0
    ended: frozenset[str] = frozenset()


class KeptSecrets:
    """The file of one served directory, at one address. Where it cannot be had, nothing is kept."""

    def __init__(self, *served: object) -> None:
        name = sha256("\n".join(map(str, served)).encode(errors="surrogateescape")).hexdigest()[:24]
        self.path = _state_home() / "orchestrator" / "serve" / f"{name}.json"

    def read(self, now: float) -> Secrets | None:
        """Return what the server before has left; None where none goes on or others could have read it."""
        try:
            with self.path.open(encoding="utf-8") as file:
                facts = os.fstat(file.fileno())
                if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & _OTHERS:
                    return None
                found = _secrets(json.load(file))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        return found if now < found.until else None

    def write(self, secrets: Secrets) -> None:
        """Replace the file, readable for its user alone."""
        facts = {
            "key": secrets.key.hex(),
            "base": secrets.base,
            "until": secrets.until,
            "ended": sorted(secrets.ended),
        }
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, fresh = tempfile.mkstemp(dir=self.path.parent, suffix=".tmp")  # its mode is 0600
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    json.dump(facts, file)
                Path(fresh).replace(self.path)
            finally:
                Path(fresh).unlink(missing_ok=True)
        except OSError:  # sessions then end with the server: one that was ended must not go on at the next
            self.forget()

    def forget(self) -> None:
        """Let no session of an earlier server go on."""
        with contextlib.suppress(OSError):
            self.path.unlink()


def _secrets(facts: dict[str, Any]) -> Secrets:
    key, base = bytes.fromhex(facts["key"]), str(facts["base"])
    if len(key) != 32 or not base.startswith("/") or len(base) < 20 or "/" in base[1:]:
        raise ValueError("no secrets of ours")
    return Secrets(key, base, int(facts["until"]), frozenset(map(str, facts["ended"])))


def _state_home() -> Path:
    named = Path(os.environ.get("XDG_STATE_HOME", ""))
    with contextlib.suppress(RuntimeError):  # nobody's home
        return named if named.is_absolute() else Path.home() / ".local" / "state"
    return Path(os.devnull)
