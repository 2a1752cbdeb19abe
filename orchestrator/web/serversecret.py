"""What a server of the page proves itself and its sessions with, and keeps for the one that takes its place.

An open page belongs to a path, a cookie and a key. Kept, they let it go on when its server was killed and
started again; they are thrown away once no session of theirs can hold any more, so that none is older than
its use.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Annotated, BinaryIO

from pydantic import Field, TypeAdapter, ValidationError

from orchestrator.errors import Fault, InputError
from orchestrator.record.privatedir import make_private

_LARGEST = 1 << 20
_WORD = r"^[A-Za-z0-9_-]+$"


@dataclass
class ServerSecret:
    """`base`: the path of all pages; `key`: signs sessions, hex; `ended`: sessions that somebody has ended.

    `latest`: when the newest session began, or else this was drawn, in s since 1970; `port`: of the server.
    """

    token: Annotated[str, Field(min_length=8, max_length=200, pattern=_WORD)]
    latest: float = 0.0
    key: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] = field(
        default_factory=lambda: secrets.token_hex(32)
    )
    base: Annotated[str, Field(pattern=r"^/[A-Za-z0-9_-]{24}$")] = field(
        default_factory=lambda: f"/{secrets.token_urlsafe(18)}"
    )
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    ended: set[str] = field(default_factory=set)

    @classmethod
    def drawn(cls, now: float) -> ServerSecret:
        """Return a new one."""
        return cls(secrets.token_urlsafe(32), now)


_SECRET = TypeAdapter(ServerSecret)


def private_place() -> Path:
    """Return where the secrets of this user's servers lie: a directory that nobody else may enter."""
    named = os.environ.get("XDG_STATE_HOME", "")
    state = Path(named) if named.startswith("/") else Path.home() / ".local" / "state"
    return state / "orchestrator" / "serve"


class SecretFile:
    """The file of one served directory with one storage. It belongs to the server that has locked it.

    A second server beside that one has secrets of its own, which are not kept.
    """

    def __init__(self, folder: Path, root: Path, storage: str) -> None:
        name = sha256(f"{root}\0{storage}".encode(errors="surrogateescape")).hexdigest()[:32]
        self._path, self._lock_path = folder / f"{name}.json", folder / f"{name}.lock"
        self._lock: BinaryIO | None = None

    def take(self, now: float, lasts_s: float, *, anew: bool = False) -> ServerSecret:
        """Return the secret that a session of an earlier server may still rest on, or a new one; it is kept.

        Args:
            now: seconds since 1970.
            lasts_s: how long a session holds.
            anew: draw a new one in any case: what rested on the one before opens nothing any more.

        Raises:
            InputError: others may read what is kept, or it is not this user's.
        """
        new = ServerSecret.drawn(now)
        if not self._locked():
            return new
        kept = self._kept()
        if kept is None or anew or not 0 <= now - kept.latest < lasts_s:
            # the port is no secret: an address that somebody has forwarded stays where it is
            new.port = kept.port if kept is not None else 0
            kept = new
        self.keep(kept)
        return kept

    @property
    def is_ours(self) -> bool:
        """Whether what is kept there is kept by us."""
        return self._lock is not None

    def keep(self, secret: ServerSecret) -> None:
        """Write it down, whole or not at all; where that cannot be done, nothing is kept any longer."""
        if self._lock is None:
            return
        half = self._path.with_suffix(".new")
        try:
            half.unlink(missing_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            with os.fdopen(os.open(half, flags, 0o600), "w", encoding="utf-8") as file:
                json.dump({**asdict(secret), "ended": sorted(secret.ended)}, file)
            half.replace(self._path)
        except OSError:  # or a session that was ended would hold again
            for path in (half, self._path):
                with suppress(OSError):
                    path.unlink(missing_ok=True)

    def release(self) -> None:
        """Leave it to the next server."""
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.close()

    def _locked(self) -> bool:
        try:
            make_private(self._path.parent)
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
            lock = os.fdopen(os.open(self._lock_path, flags, 0o600), "r+b")
        except PermissionError:
            if self._path.parent.is_dir():
                raise InputError(_open_to_others(self._path.parent, "0700")) from None
            return False
        except OSError:  # a home that cannot be written: every start has a new one
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # another server has it, or there are no locks
            lock.close()
            return False
        self._lock = lock
        return True

    def _kept(self) -> ServerSecret | None:
        """Return what is there; None for nothing, and for what cannot be read."""
        try:
            with os.fdopen(os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
                found = os.fstat(file.fileno())
                private = found.st_uid == os.getuid() and not stat.S_IMODE(found.st_mode) & 0o077
                if not private or not stat.S_ISREG(found.st_mode):
                    self.release()
                    raise InputError(_open_to_others(self._path, "0600"))
                return _SECRET.validate_json(file.read(_LARGEST))
        except FileNotFoundError:
            return None
        except (OSError, ValidationError):
            return None


def _open_to_others(path: Path, mode: str) -> Fault:
    return Fault(
        f"holds the secret of the page, and has to be this user's alone (mode {mode})",
        value=str(path),
        hint="somebody may have read it: remove it, and the next start draws a new one",
    )


Keep = Callable[[ServerSecret], None]
"""Writes a secret down where it has changed."""
