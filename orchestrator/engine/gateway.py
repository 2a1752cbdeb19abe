"""What can keep a study from its Ray, found before anything is started: on this machine, or at a cluster."""

from __future__ import annotations

import errno
import ipaddress
import os
import resource
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.engine.ray_private.knock import knock
from orchestrator.errors import ClusterUnavailable

MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
ADVICE = (
    "Copy the token of the cluster (`ray get-auth-token` on its head prints it) into ~/.ray/auth_token with "
    f"mode 0600, or name its file in {TOKEN_PATH}, and set {MODE}=token."
)
KNOCK_TIMEOUT_S = 2.0
LONGEST_SOCKET = 107
"""Bytes of a Unix socket's path."""
_BELOW_TMPDIR = "/ray/session_2000-01-01_00-00-00_000000_4194304/sockets/plasma_store.1"
MIB = 2**20
LEAST_MEMORY = 256 * MIB
"""Ray gives 30 % of what is free to its object store, 75 MiB at least."""


@dataclass(frozen=True)
class Obstacle:
    """Something that is in the way. `fatal`: Ray cannot start; else it may not."""

    name: str
    what: str
    way_out: str
    fatal: bool = True

    def __str__(self) -> str:
        return f"{self.what}; {self.way_out}"


# ---- this machine ------------------------------------------------------------------------------------------


def obstacles() -> list[Obstacle]:
    """Return what is in the way of a Ray on this machine."""
    return [*_temporary(), *_token_to_make(), *_ports(), *_memory()]


def refuse_obstacles() -> None:
    """Raise ClusterUnavailable where a Ray on this machine could not start."""
    fatal = [str(one) for one in obstacles() if one.fatal]
    if fatal:
        raise ClusterUnavailable(f"Ray cannot start on this machine: {'. '.join(fatal)}")


def temporary() -> Path:
    """Return where Ray keeps its sessions, as Ray looks for it."""
    return Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp").absolute()  # noqa: S108


def _temporary() -> Iterator[Obstacle]:
    there = temporary()
    name = "RAY_TMPDIR" if os.environ.get("RAY_TMPDIR") else "TMPDIR" if os.environ.get("TMPDIR") else "/tmp"  # noqa: S108
    room = LONGEST_SOCKET - len(_BELOW_TMPDIR)
    if len(os.fsencode(there)) > room:
        what = f"{name} ({there}) is too long for Ray's sockets, which may have {LONGEST_SOCKET} bytes"
        yield Obstacle("temporary", what, f"set RAY_TMPDIR to a path of at most {room} bytes, such as /tmp")
    elif (fault := _unwritable(there / "ray")) is not None:
        way_out = "set RAY_TMPDIR to a directory of yours with a short path"
        yield Obstacle("temporary", f"Ray keeps its sessions in {fault}", way_out)


def _unwritable(folder: Path) -> str | None:
    """Tell why no file can be put into a folder, which may still have to be made; None when one can."""
    there = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not there.is_dir():
        return f"{folder}, but {there} is no directory"
    read_only = os.statvfs(there).f_flag & os.ST_RDONLY
    if read_only or not os.access(there, os.W_OK | os.X_OK):
        why = "read-only" if read_only else "permission denied"
        return f"{folder}, but {there} cannot be written ({why})"
    return None


def _token_to_make() -> Iterator[Obstacle]:
    if os.environ.get(MODE, "token").lower() != "token" or os.environ.get(TOKEN):
        return
    way_out = f"name a file of yours in {TOKEN_PATH} that holds a long random word, with mode 0600"
    try:
        path = token_file()
    except RuntimeError as error:  # no HOME, and none in the list of users
        yield Obstacle("ray token", f"Ray keeps its token below HOME: {error}", way_out)
        return
    try:
        known = read_token()
    except OSError as error:
        yield Obstacle("ray token", f"{path} cannot be read ({error.strerror})", way_out)
        return
    if known:
        return
    if os.environ.get(TOKEN_PATH):
        yield Obstacle("ray token", f"{TOKEN_PATH} names {path}, which holds no token", way_out)
    elif (fault := _unwritable(path.parent)) is not None:
        yield Obstacle("ray token", f"Ray keeps its token in {fault}", way_out)


def _ports() -> Iterator[Obstacle]:
    try:
        with socket.create_server(("127.0.0.1", 0)):
            return
    except OSError as error:
        way_out = "see `ulimit -n`, and /proc/sys/net/ipv4/ip_local_port_range"
        yield Obstacle("ports", f"no port can be listened on ({error.strerror})", way_out)


def _memory() -> Iterator[Obstacle]:
    free = _free_memory()
    if free is not None and free < LEAST_MEMORY:
        what = f"{free // MIB} MiB of memory are free, and Ray needs {LEAST_MEMORY // MIB} MiB to start"
        yield Obstacle("memory", what, "end other programs, or use a larger machine or container")
    for kind, limit, least, option in (
        ("bytes of address space", resource.RLIMIT_AS, 16 * 2**30, "-v"),
        ("processes", resource.RLIMIT_NPROC, 1024, "-u"),
    ):
        soft, _ = resource.getrlimit(limit)
        if soft != resource.RLIM_INFINITY and soft < least:
            what = f"this shell allows {soft:,} {kind}, and Ray may need more"
            yield Obstacle("limits", what, f"ulimit {option} unlimited", fatal=False)


def _free_memory() -> int | None:
    """Return how much Ray can have at most, in bytes; None where it cannot be read."""
    found = []
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found.append(next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")))
    with suppress(OSError, ValueError):  # the limit of a container
        found.append(int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return min(found, default=None)


# ---- a cluster ---------------------------------------------------------------------------------------------


def refuse_strangers(address: str) -> None:
    """Raise ClusterUnavailable where the cluster at host:port and this process cannot talk, and say why.

    Any other kind of address is left to Ray.
    """
    host, _, port = address.rpartition(":")
    if "://" in address or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        late = isinstance(error, TimeoutError) or getattr(error, "errno", None) == errno.ETIMEDOUT
        why = "no answer" if late else getattr(error, "strerror", None) or str(error)
        raise _no_cluster(address, why) from error
    if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
        return
    open_to_all = knock(address)
    if open_to_all in ("silence", "no Ray"):
        raise _no_cluster(address, "something listens there, but does not answer as one")
    fault = _token_fault(address, open_to_all == "yes")
    if fault:
        raise ClusterUnavailable(fault)


def _no_cluster(address: str, why: str) -> ClusterUnavailable:
    return ClusterUnavailable(
        f"no Ray cluster answers at {address}: {why}. Is the head up, and is this "
        "its GCS address (host:port, 6379 unless told otherwise)?"
    )


def _token_fault(address: str, open_to_all: bool) -> str | None:
    """Tell why cluster and process cannot talk although both are there; None when they can."""
    ours = asks_for_token()
    if open_to_all:
        if not ours:
            return None
        return (
            f"the cluster at {address} works without a token, and {MODE}=token has this process refuse what "
            f"comes without one. Start the cluster with {MODE}=token on every node; or, where nobody else "
            f"reaches its ports, unset {MODE} here."
        )
    if not ours:
        return f"the cluster at {address} asks for a token, and {MODE} is not set to token here. {ADVICE}"
    try:
        token = read_token()
    except (OSError, RuntimeError) as error:
        return f"the cluster at {address} asks for a token, and ours cannot be read ({error}). {ADVICE}"
    if not token:
        return f"the cluster at {address} asks for a token, and there is none here. {ADVICE}"
    if knock(address, token) == "yes":
        return None
    where = TOKEN if os.environ.get(TOKEN) else token_file()
    return f"the cluster at {address} refuses our token (of {where}). {ADVICE}"


# ---- the token ---------------------------------------------------------------------------------------------


def asks_for_token() -> bool:
    """Whether this process asks for a token, and shows its own."""
    return os.environ.get(MODE, "").lower() == "token"


def token_file() -> Path:
    """Where Ray looks for the token of this user."""
    named = os.environ.get(TOKEN_PATH)
    return Path(named) if named else Path.home() / ".ray" / "auth_token"


def read_token() -> str | None:
    """Return the token as Ray finds it; None when there is none."""
    said = os.environ.get(TOKEN)
    if said:
        return said.strip()
    with suppress(FileNotFoundError, NotADirectoryError):
        return token_file().read_bytes()[:4096].decode("utf-8", "replace").strip() or None
    return None


def keep_token_private() -> None:
    """Ray writes the token as the umask says; only its owner may read it."""
    path = token_file()
    if path.is_file() and path.stat().st_uid == os.getuid() and stat.S_IMODE(path.stat().st_mode) & 0o077:
        path.chmod(0o600)


def unprotected(address: str | None) -> str | None:
    """Return what to tell the user about a cluster that asks for no token where others reach it; None when
    safe.
    """
    if address is None or asks_for_token() or _is_loopback(address):
        return None
    return (
        f"{address} is used without a token: everybody who reaches its ports may run code there as its user. "
        f"Start it with {MODE}=token on every node. {ADVICE}"
    )


def ray_address_unused(address: str | None) -> str | None:
    """Return what to tell who has set RAY_ADDRESS, which Ray's own programs heed; None where nobody has."""
    named = os.environ.get("RAY_ADDRESS")
    if not named or named == address:
        return None
    if address is not None:
        return f"RAY_ADDRESS={named} is not used: --address {address} is"
    return f"RAY_ADDRESS={named} is not used: Ray is started on this machine; --address {named} connects"


def elsewhere_before(before: str | None) -> str | None:
    """Return what to tell the user of a study that began on a cluster, at this address, and is to go on with
    a Ray of this machine; None where it did not.
    """
    if before is None:
        return None
    there = "the cluster's head" if before == "auto" else f"the cluster at {before}"
    again = (
        "--cluster FILE, or with --address auto on the head" if before == "auto" else f"--address {before}"
    )
    return f"this study began on {there} and goes on with a Ray of this machine; there: {again}"


def _is_loopback(address: str) -> bool:
    host = address.removeprefix("ray://").rpartition(":")[0].strip("[]") or address
    if host in ("localhost", "local"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
