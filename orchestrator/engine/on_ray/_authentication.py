"""Ray's token: present before a cluster is asked, private on disk, and missed aloud where it is off."""

from __future__ import annotations

import ipaddress
import logging
import os
import stat
from pathlib import Path

log = logging.getLogger(__name__)

MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
ADVICE = (
    "Copy the token of the cluster (`ray get-auth-token` on its head prints it) into ~/.ray/auth_token with "
    f"mode 0600, or name its file in {TOKEN_PATH}, and set {MODE}=token."
)


def token_file() -> Path:
    """Where Ray looks for the token of this user."""
    named = os.environ.get(TOKEN_PATH)
    return Path(named) if named else Path.home() / ".ray" / "auth_token"


def keep_token_private() -> None:
    """Ray writes the token as the umask says; only its owner may read it."""
    path = token_file()
    if path.is_file() and path.stat().st_uid == os.getuid() and stat.S_IMODE(path.stat().st_mode) & 0o077:
        path.chmod(0o600)


def unprotected(address: str | None) -> str | None:
    """Return what to tell the user about a cluster that asks for no token where others reach it; None when
    safe.
    """
    if address is None or os.environ.get(MODE, "").lower() == "token" or _is_loopback(address):
        return None
    return (
        f"{address} is used without a token: everybody who reaches its ports may run code there as its user. "
        f"Start it with {MODE}=token on every node. {ADVICE}"
    )


def _is_loopback(address: str) -> bool:
    host = address.removeprefix("ray://").rpartition(":")[0].strip("[]") or address
    if host in ("localhost", "local"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
