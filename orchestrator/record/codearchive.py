"""The user's code as an archive, which travels to the nodes and is frozen with the study."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from orchestrator.errors import Fault, InputError, StudyError
from orchestrator.study.entrypoint import OF_COMMANDS

_TEXT = (".yaml", ".yml", ".json", ".toml", ".txt", ".cfg", ".ini", ".md", ".csv", ".tsv")
_LEVEL = 1
"""Of compression: half a second less before a study starts than 9, for a fifth more bytes."""
_SECRET_FILE = re.compile(
    r"secret|credential|passw(or)?d|api[-_]?key|private[-_]?key|service[-_]?account|^auth[-_]?token|^tokens?\."
    r"|^kaggle\.json$|^id_(rsa|dsa|ecdsa|ed25519)",
    re.IGNORECASE,
)
_SKIPPED = frozenset({"__pycache__", "site-packages", "node_modules", "venv", "runs"})
FILE_LIMIT = 1 << 20
"""Bytes of one text file beyond which it is data, not code."""
TOTAL_LIMIT = 64 << 20
ENTRY_LIMIT = 100_000


def hash_of(files: Mapping[str, bytes], names: Iterable[str]) -> str:
    """SHA-256 over names and contents of some files."""
    digest = hashlib.sha256()
    for name in sorted(names):
        data = files[name]
        digest.update(f"{name}\0{len(data)}\0".encode())
        digest.update(data)
    return digest.hexdigest()


def read_code(root: Path, exclude: Iterable[Path] = (), named: Iterable[str] = ()) -> dict[str, bytes]:
    """Return the code and small text files below `root`, and `named` ones, by posix names relative to it.

    Hidden files, text files named like secrets, text that a link fetches from elsewhere, environments,
    installed packages, run directories and everything in `exclude` stay out.
    Raises `StudyError` when it is too big to be a code directory.
    """
    found: dict[str, bytes] = {}
    total = 0
    for name, path in _files(root, exclude, OF_COMMANDS + _TEXT, frozenset(named)):
        found[name] = path.read_bytes()
        total += len(found[name])
        if total > TOTAL_LIMIT:
            raise _too_big(root, f"more than {TOTAL_LIMIT >> 20} MiB of code")
    return found


def pack_files(files: Mapping[str, bytes]) -> bytes:
    """Return a tar.gz; the same bytes for the same files."""
    sink = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=sink, mode="wb", mtime=0, compresslevel=_LEVEL) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, data in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o644
            archive.addfile(member, io.BytesIO(data))
    return sink.getvalue()


def files_in(archive: bytes) -> dict[str, bytes] | None:
    """Return the files of an archive by their names; None when it cannot be read."""
    found = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as opened:
            for member in opened:
                source = opened.extractfile(member) if member.size <= TOTAL_LIMIT else None
                if source:
                    found[member.name] = source.read()
    except (tarfile.TarError, EOFError, zlib.error, OSError):
        return None
    return found


_PROGRAMS = (b"#!", b"\x7fELF")


def unpack_code(data: bytes, dest: Path) -> None:
    """Extract an archive of `pack_files` into `dest`.

    Plain files with relative paths only: anything else in it (links, devices, `..`) raises `InputError`
    before the first file is written. What begins as a program does can be run.
    """
    dest = Path(dest)
    try:
        plain = gzip.decompress(data)  # all of it, so that its checksum is verified
        with tarfile.open(fileobj=io.BytesIO(plain), mode="r:") as archive:
            members = archive.getmembers()
            for member in members:
                path = PurePosixPath(member.name)
                below = (dest / path).resolve().is_relative_to(dest.resolve()) and ".." not in path.parts
                if not member.isfile() or not below or path.is_absolute() or "\\" in member.name:
                    what = "the code archive has an entry that may not be extracted"
                    raise InputError(f"{what}: {member.name!r}")
            for member in members:
                target = dest / member.name
                target.parent.mkdir(parents=True, exist_ok=True)
                source = archive.extractfile(member)
                assert source is not None  # it is a file
                data = source.read()
                target.write_bytes(data)
                if data.startswith(_PROGRAMS):
                    target.chmod(0o755)
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise InputError(f"the code archive cannot be extracted: {error}") from error


def _files(
    root: Path, exclude: Iterable[Path], suffixes: tuple[str, ...], named: frozenset[str] = frozenset()
) -> Iterator[tuple[str, Path]]:
    """(posix name relative to root, path), sorted by name; `named` ones whatever their suffix."""
    root = Path(root).resolve()
    left_out = {Path(path).resolve() for path in exclude}
    seen = 0
    found: list[tuple[str, Path]] = []
    for folder, folders, names in os.walk(root, followlinks=True):
        here = Path(folder)
        through_link = here.resolve() != here
        folders[:] = sorted(name for name in folders if _enters(here / name, left_out))
        seen += len(names) + len(folders)
        if seen > ENTRY_LIMIT:
            raise _too_big(root, f"more than {ENTRY_LIMIT} files")
        for name in names:
            path = here / name
            if path.relative_to(root).as_posix() in named:
                found.append((path.relative_to(root).as_posix(), path))
                continue
            if name.startswith(".") or not name.endswith(suffixes) or path in left_out or not path.is_file():
                continue
            if (through_link or path.is_symlink()) and not _may_follow(path, root):
                continue
            if name.endswith(OF_COMMANDS) or (
                path.stat().st_size < FILE_LIMIT and not _SECRET_FILE.search(name)
            ):
                found.append((path.relative_to(root).as_posix(), path))
    return iter(sorted(found))


def _may_follow(link: Path, root: Path) -> bool:
    """Tell whether a file behind a link is taken: code from anywhere, text (anybody's key) from here only."""
    target = link.resolve()
    return target.is_relative_to(root) or (link.suffix in OF_COMMANDS and target.suffix in OF_COMMANDS)


def _leads_to_code(link: Path) -> bool:
    """Tell whether a linked folder is a package or holds modules, and not what the link itself lies in."""
    target = link.resolve()
    return any(target.glob("*.py")) and all(parent.resolve() != target for parent in link.parents)


def _enters(folder: Path, left_out: set[Path]) -> bool:
    if folder.name.startswith(".") or folder.name in _SKIPPED or folder in left_out:
        return False
    if folder.is_symlink() and not _leads_to_code(folder):
        return False
    # an environment under another name, or the directory of a study
    return not (folder / "pyvenv.cfg").exists() and not (folder / "journal.jsonl").exists()


def _too_big(root: Path, what: str) -> StudyError:
    hint = "start the command from the directory that holds your code"
    return StudyError(Fault(f"{root} has {what}", field="entrypoint", hint=hint))
