"""The cluster's token: what lets a client run code on it. One file, readable by its owner only."""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from pathlib import Path

from orchestrator.errors import Fault, InputError

OWNER_ONLY = 0o600


def make_token(path: Path) -> bool:
    """Write a new token (256 random bits) where there is none; returns whether one was made.

    Raises:
        InputError: the file cannot be written, is empty, or others may read it.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
    except FileExistsError:
        check_token(path)
        return False
    except OSError as error:
        raise InputError(Fault(f"the token cannot be written: {error.strerror}", file=str(path))) from None
    with os.fdopen(handle, "w") as stream:
        stream.write(secrets.token_hex(32))
    return True


def check_token(path: Path) -> None:
    """Refuse a token that is missing, empty, or not secret. Raises `InputError`."""
    try:
        mode, content = stat.S_IMODE(path.stat().st_mode), path.read_bytes().strip()
    except OSError as error:
        message, hint = f"the token cannot be read: {error.strerror}", "`orchestrate up` makes one"
        raise InputError(Fault(message, file=str(path), hint=hint)) from None
    if not content:
        hint = "remove the file; `orchestrate up` makes a new token"
        raise InputError(Fault("the token is empty", file=str(path), hint=hint))
    if mode & 0o077:
        message, hint = f"others may read the token (mode {mode:o})", f"chmod 600 {path}"
        raise InputError(Fault(message, file=str(path), hint=hint))


def fingerprint(path: Path) -> str | None:
    """Return what tells two tokens apart without showing them; None where there is none."""
    try:
        return hashlib.sha256(path.read_bytes().strip()).hexdigest()[:16]
    except OSError:
        return None
