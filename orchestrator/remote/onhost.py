"""Runs on a host of the cluster, sent there over SSH as text: nothing but the standard library.

`python - N onhost VERB QUESTION`: one JSON question in, one line of JSON out behind a mark. It works while
Ray is down, and where our package is missing.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import importlib.metadata
import importlib.util
import io
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

MARK = "orchestrate-answer:"
MARKER = ".orchestrate-doctor-"
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - only looked at


def facts(question: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `doctor` compares between hosts."""
    paths = {
        "temporary": Path(tempfile.gettempdir()),
        "shared memory": Path(SHARED_MEMORY),
        "home": Path.home(),
    }
    if question.get("storage") and not is_remote(question["storage"]):
        there = local(question["storage"])
        paths["storage"] = next(folder for folder in (there, *there.parents) if folder.exists())
    return {
        "host": socket.gethostname(),
        "clock": time.time(),
        "python": ".".join(map(str, sys.version_info[:3])),
        "executable": sys.executable,
        "packages": {name: version_of(name) for name in question["packages"]},
        "code": code_digest("orchestrator"),
        "auth_mode": os.environ.get("RAY_AUTH_MODE"),
        "token": _token(),
        "free": {name: _free(path) for name, path in paths.items()},
        "gpus": _gpus(),
        "program": _program(question.get("program")),
    }


def _program(name: str | None) -> dict[str, str | None] | None:
    """Return a program, and where this host has it: beside its Python, or in PATH."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return None if name is None else {"name": name, "path": shutil.which(name, path=path)}


def version_of(name: str) -> str | None:
    """Return the installed version of a distribution; None where it is missing."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def code_digest(package: str) -> str | None:
    """SHA-256 over the package's Python files, found without importing it; None where it is missing."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.submodule_search_locations:
        return None
    root = Path(next(iter(spec.submodule_search_locations)))
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _token() -> dict[str, Any]:
    """Where Ray looks for the token; only a fingerprint of it leaves the host."""
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    try:
        content, mode = path.read_bytes().strip(), stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        return {"path": str(path), "error": error.strerror}
    return {"path": str(path), "mode": mode, "fingerprint": hashlib.sha256(content).hexdigest()[:16]}


def _free(path: Path) -> int | None:
    """Bytes, or None where there is no such place."""
    try:
        return shutil.disk_usage(path).free
    except OSError:
        return None


def _gpus() -> dict[str, Any] | None:
    """Return what the driver sees: `{count}`, `{error}`, or None where there is no driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    try:
        done = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"error": str(error)}
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip().splitlines()
        return {"error": said[-1] if said else f"exit code {done.returncode}"}
    return {"count": sum(line.startswith("GPU ") for line in done.stdout.splitlines())}


# -- storage -------------------------------------------------------------------------------------------------


def is_remote(storage: str) -> bool:
    """Whether a storage is an object store: nothing of it lies on this host."""
    return "://" in storage and not storage.startswith("file://")


def local(storage: str) -> Path:
    """Return the path of a storage that is no object store."""
    return Path(storage[len("file://") :] if storage.startswith("file://") else storage)


def leave_marker(question: Mapping[str, Any]) -> dict[str, Any]:
    """Write a marker into the storage, and say which markers of this inspection can be seen."""
    if is_remote(question["storage"]):
        return _remote_storage(question["storage"])
    where, name = local(question["storage"]), MARKER + question["inspection"]
    try:
        made = [folder for folder in (where, *where.parents) if not folder.exists()]
        if made and not question["may_create"]:
            return {"error": f"there is no directory {where} here"}
        where.mkdir(parents=True, exist_ok=True)
        (where / f"{name}.{question['host']}").write_text(question["host"])
        seen = [path.name[len(name) + 1 :] for path in where.iterdir() if path.name.startswith(name)]
    except OSError as error:
        return {"error": f"{where} cannot be written here: {error.strerror}"}
    return {"seen": seen, "made": [str(folder) for folder in made]}


def _remote_storage(uri: str) -> dict[str, Any]:
    try:
        from orchestrator.record.storage import Storage

        Storage.open(uri).check_writable()
    except Exception as error:  # whatever the file system, its client or our package say: it is the finding
        return {"error": f"{uri} cannot be used here: {error}"}
    return {"seen": [], "made": []}


def take_markers(question: Mapping[str, Any]) -> dict[str, Any]:
    """Say which markers can be seen now; remove them and the directories that were made for them."""
    where, name = local(question["storage"]), MARKER + question["inspection"]
    seen = []
    with contextlib.suppress(OSError):
        for path in list(where.iterdir()):
            if path.name.startswith(name):
                seen.append(path.name[len(name) + 1 :])
                path.unlink()
        for folder in question["made"]:
            Path(folder).rmdir()
    return {"seen": seen}


# -- what travels --------------------------------------------------------------------------------------------


def fetch(question: Mapping[str, Any]) -> dict[str, str]:
    """Return those files of a report that are there, base64, by names below the study."""
    found: dict[str, bytes] = {}
    if is_remote(question["root"]):
        from orchestrator.record.storage import Storage

        storage = Storage.open(question["root"])
        names = [name for name in question["names"] if storage.exists(name)]
        names += [f"figures/{entry.name}" for entry in storage.list("figures")]
        found = {name: storage.read_bytes(name) for name in names}
    else:
        root = local(question["root"])
        paths = [root / name for name in question["names"]]
        paths += sorted((root / "figures").glob("*"))
        found = {path.relative_to(root).as_posix(): path.read_bytes() for path in paths if path.is_file()}
    return {name: base64.b64encode(content).decode() for name, content in found.items()}


def unpack(question: Mapping[str, Any]) -> dict[str, Any]:
    """Put the tar.gz that follows on stdin into a directory of its own; the same content is kept as it is."""
    target = Path(question["directory"]).expanduser()
    if (target / ".complete").exists():
        return {"directory": str(target), "new": False}
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    data = sys.stdin.buffer.read()
    if hashlib.sha256(data).hexdigest() != question["digest"]:
        raise ValueError("the code arrived damaged: run the command again")
    part = Path(tempfile.mkdtemp(dir=target.parent, prefix=".part-"))
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
            for member in archive.getmembers():
                source = archive.extractfile(member) if member.isfile() else None
                if source is None or member.name.startswith("/") or ".." in member.name.split("/"):
                    raise ValueError(f"may not be unpacked: {member.name!r}")
                path = part / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(source.read())
        (part / question["folder"]).mkdir(parents=True, exist_ok=True)
        (part / ".complete").touch()
        if target.exists():
            shutil.rmtree(target)
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return {"directory": str(target), "new": True}


# -- processes -----------------------------------------------------------------------------------------------

Table = Mapping[int, Mapping[str, Any]]
"""Processes by id: `words`, `command`, `name`, `parent`, and `started` (tells a reused id)."""


def processes(question: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the processes of this cluster on this host."""
    table = _table()
    return [
        {"pid": pid, "name": table[pid]["name"], "command": table[pid]["command"][:120]}
        for pid in _wanted(question, table)
    ]


def stop(question: Mapping[str, Any]) -> dict[str, Any]:
    """End the processes of this cluster on this host: the raylet first, at last what is left by force.

    Other clusters of the same user on the same machine are left alone. `only`: those whose command line holds
    this word.
    """
    table = _table()
    chosen = [pid for pid in _wanted(question, table) if question["only"] in table[pid]["command"]]
    started = {pid: table[pid]["started"] for pid in chosen}
    raylets = {pid: since for pid, since in started.items() if table[pid]["name"] == "raylet"}
    _signal(raylets, signal.SIGTERM)
    _wait(raylets, question["grace_s"] / 2)
    _signal(_left(started), signal.SIGTERM)
    _wait(started, question["grace_s"] / 2)
    _signal(_left(started), signal.SIGKILL)
    _wait(started, 5.0)
    return {"ended": len(started), "left": processes(question)}


def _wanted(question: Mapping[str, Any], table: Table) -> list[int]:
    """Return the cluster's own; with `orphans` also workers of this user whose raylet has died: nobody's any
    more, but they may hold GPUs.
    """
    orphans = {
        pid
        for pid, entry in table.items()
        if entry["parent"] in (0, 1) and entry["command"].startswith(("ray::", "ray-dashboard"))
    }
    return sorted({*_of_cluster(question["gcs"], table), *(orphans if question["orphans"] else ())})


def _of_cluster(gcs: Sequence[str], table: Table) -> list[int]:
    """Process ids that belong to the cluster whose GCS listens at one of these addresses.

    Its daemons name the address on their command line; workers, trials and drivers descend from them.
    """
    found = {pid for pid, entry in table.items() if _names_gcs(entry["words"], gcs)}
    growing = True
    while growing:
        children = {pid for pid, entry in table.items() if entry["parent"] in found}
        growing = not children <= found
        found |= children
    return sorted(found - {os.getpid(), os.getppid()})


def _names_gcs(words: Sequence[str], gcs: Sequence[str]) -> bool:
    """Whether a command line is that of a daemon, or of a driver, of one of these clusters.

    `*:PORT` stands for a GCS of this very host, whatever the host calls itself.
    """
    for address in gcs:
        host, _, port = address.rpartition(":")
        for word in words:
            option, _, value = word.partition("=")
            if option == "--gcs_server_port" and value == port:
                return True
            there, _, its_port = value.rpartition(":")
            names_it = option in ("--gcs-address", "--address") and its_port == port
            if names_it and (host in ("*", there) or there in _addresses(host)):
                return True
    return False


@functools.cache
def _addresses(host: str) -> frozenset[str]:
    try:
        return frozenset(str(entry[4][0]) for entry in socket.getaddrinfo(host, None))
    except OSError:
        return frozenset()


def _table() -> dict[int, dict[str, Any]]:
    """Every process of this user that can be seen; zombies have ended."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if folder.stat().st_uid != os.getuid():
                continue
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            head, _, rest = (folder / "stat").read_text(errors="replace").rpartition(")")
        except OSError:
            continue  # it has ended meanwhile
        fields = rest.split()
        if fields[0] not in "ZX":
            found[int(folder.name)] = {
                "words": words,
                "command": " ".join(words).strip(),
                "name": head.partition("(")[2],
                "parent": int(fields[1]),
                "started": fields[19],
            }
    return found


def _left(started: Mapping[int, str]) -> list[int]:
    table = _table()
    return [pid for pid, since in started.items() if pid in table and table[pid]["started"] == since]


def _wait(started: Mapping[int, str], timeout_s: float) -> None:
    end = time.monotonic() + timeout_s
    while _left(started) and time.monotonic() < end:
        time.sleep(0.1)


def _signal(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


_ANSWERED = (facts, leave_marker, take_markers, fetch, unpack, processes, stop)
VERBS = {verb.__name__.replace("_", "-"): verb for verb in _ANSWERED}


def main(verb: str, question: Mapping[str, Any]) -> None:
    """Answer one question on stdout; an error is an answer, too."""
    try:
        reply: dict[str, Any] = {"answer": VERBS[verb](question)}
    except Exception as error:  # the laptop raises it
        reply = {"error": f"{type(error).__name__}: {error}"}
    sys.stdout.write(MARK + json.dumps(reply) + "\n")


if __name__ == "__main__":
    main(sys.argv[3], json.loads(sys.argv[4]))
