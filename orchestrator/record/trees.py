"""What a checkpoint is made of: files, links that stay inside, empty directories; all else is refused.

A link that leads out of the directory is stored as what it leads to: a checkpoint has to stand on its own.
The parts of several ranks make one tree; what several of them store under one name has to be the same.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

SHOWN = 5
"""How many of the entries that are refused are named."""
_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class CheckpointRefused(ValueError):
    """A checkpoint that the user's code has made cannot be stored as it is: the trial's own failure."""


@dataclass(frozen=True)
class Tree:
    """Paths are relative, with `/`.

    `files`: path -> bytes; `links`: path -> where it leads, seen from its directory; `empty`: directories
    that hold nothing; `borrowed`: some files are there by a link that leads out.
    """

    files: Mapping[str, int] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    empty: tuple[str, ...] = ()
    borrowed: bool = field(default=False, compare=False)


def read_tree(root: Path) -> Tree:
    """Return what lies below a directory. Raises `CheckpointRefused` with every entry that cannot be kept."""
    if not root.is_dir():
        raise CheckpointRefused(f"the checkpoint {str(root)!r} is no directory: report one with its files")
    home = root.resolve()
    files: dict[str, int] = {}
    links: dict[str, str] = {}
    empty: list[str] = []
    wrong: list[str] = []
    borrowed = False
    left: list[tuple[str, Path, tuple[Path, ...], bool]] = [("", root, (home,), True)]
    while left:
        inside, folder, above, at_home = left.pop()
        with os.scandir(folder) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
        if inside and not entries:
            empty.append(inside.rstrip("/"))
        for entry in entries:
            name, path = f"{inside}{entry.name}", Path(entry.path)
            try:
                real, kind = _looked_at(entry, path)
                if at_home and entry.is_symlink() and real.is_relative_to(home):
                    links[name] = _target(path, name, real)
                    continue
                borrowed |= entry.is_symlink()
                if kind == stat.S_IFREG:
                    files[name] = path.stat().st_size
                elif real in above:
                    raise ValueError("leads back to a directory that it lies in")
                else:
                    left.append((f"{name}/", path, (*above, real), at_home and not entry.is_symlink()))
            except ValueError as error:
                wrong.append(f"{name!r} {error}")
    _refuse(
        wrong, f"only files, directories and links to them are kept; leave the others out of {str(root)!r}"
    )
    return Tree(files, links, tuple(sorted(empty)), borrowed)


def copy_tree(source: Path, tree: Tree, target: Path) -> None:
    """Make a directory that holds this tree, and nothing that lies elsewhere."""
    for name in tree.empty:
        (target / name).mkdir(parents=True, exist_ok=True)
    for name in tree.files:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / name, target / name)
    make_links(tree, target)


def make_links(tree: Tree, folder: Path) -> None:
    """Make the links of a tree in a directory. Raises `ValueError` when one would lead out of it."""
    home = folder.resolve()
    for name, leads_to in tree.links.items():
        link = folder / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(leads_to)
        if not link.resolve().is_relative_to(home):
            link.unlink()
            raise ValueError(f"the link {name!r} leads out of the checkpoint, to {leads_to!r}")


def _looked_at(entry: os.DirEntry[str], path: Path) -> tuple[Path, int]:
    """Return where the path leads to, and what is there. Raises `ValueError`: why it cannot be kept."""
    try:
        entry.name.encode()
    except UnicodeEncodeError:
        raise ValueError("has a name that is no UTF-8") from None
    try:
        real = path.resolve(strict=True)
        kind = stat.S_IFMT(real.stat().st_mode)
    except (OSError, RuntimeError) as error:  # RuntimeError: what pathlib makes of a circle of links
        if isinstance(error, FileNotFoundError):
            raise ValueError(f"is a link to {str(path.readlink())!r}, which is not there") from None
        if isinstance(error, RuntimeError) or error.errno == errno.ELOOP:
            raise ValueError(f"is a link to {str(path.readlink())!r}, which leads in a circle") from None
        raise ValueError(f"cannot be read: {error.strerror}") from None
    if kind in _KINDS:
        raise ValueError(f"is {_KINDS[kind]}")
    if not os.access(real, os.R_OK):
        raise ValueError("cannot be read: permission denied")
    return real, kind


def _target(path: Path, name: str, real: Path) -> str:
    """Return a link's target as it was made, or one that means the same wherever the tree is put."""
    made = os.readlink(path)  # noqa: PTH115 - a Path would tidy it
    return made if _leads_inside(name, made) else os.path.relpath(real, path.parent.resolve())


def refuse_outside(tree: Tree) -> None:
    """Raise `ValueError` when a tree that was read names anything that is not below its directory."""
    for name in (*tree.files, *tree.links, *tree.empty):
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or "\0" in name:
            raise ValueError(f"{name!r} is no path below a checkpoint")
    for name, target in tree.links.items():
        if not _leads_inside(name, target):
            raise ValueError(f"the link {name!r} leads out of the checkpoint, to {target!r}")


def _leads_inside(link: str, target: str) -> bool:
    """Whether a link's target stays below the directory that its path begins in, by its words alone."""
    goal = os.path.normpath(f"{PurePosixPath(link).parent}/{target}")
    return "\0" not in target and not target.startswith("/") and goal.split("/")[0] != ".."


def in_common(trees: Mapping[int, Tree]) -> list[str]:
    """Return the names under which several ranks store a file: those have to have one content."""
    names = [name for tree in trees.values() for name in tree.files]
    return sorted({name for name in names if names.count(name) > 1}) if len(trees) > 1 else []


def digests(folder: Path, names: Collection[str]) -> dict[str, str]:
    """Return what tells the contents of these files apart."""
    found = {}
    for name in names:
        with (folder / name).open("rb") as stream:
            found[name] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found


def merge(trees: Mapping[int, Tree], contents: Mapping[int, Mapping[str, str]]) -> Tree:
    """Return the tree of all ranks together.

    `contents`: of every rank, the digests of what it has in common with another. Raises `CheckpointRefused`
    when ranks disagree about a name.
    """
    kinds: dict[str, dict[str, list[int]]] = {}
    for rank, tree in sorted(trees.items()):
        said = {name: f"a file {contents.get(rank, {}).get(name, '')}" for name in tree.files}
        said |= {name: f"a link to {target}" for name, target in tree.links.items()}
        folders = {str(above) for name in (*said, *tree.empty) for above in PurePosixPath(name).parents}
        said |= dict.fromkeys((folders | set(tree.empty)) - {"."}, "a directory")
        for name, kind in said.items():
            kinds.setdefault(name, {}).setdefault(kind, []).append(rank)
    _refuse(
        [
            f"{name!r} differs between ranks {' and '.join(str(ranks[0]) for ranks in found.values())}"
            for name, found in sorted(kinds.items())
            if len(found) > 1
        ],
        "name what each rank stores by its rank (state-0.pt, state-1.pt), or store it on rank 0 alone",
    )
    files = {name: size for tree in trees.values() for name, size in tree.files.items()}
    links = {name: target for tree in trees.values() for name, target in tree.links.items()}
    full = {str(above) for name in (*files, *links) for above in PurePosixPath(name).parents}
    empty = {name for tree in trees.values() for name in tree.empty}
    full |= {str(above) for name in empty for above in PurePosixPath(name).parents}
    return Tree(files, links, tuple(sorted(empty - full)))


def owned(trees: Mapping[int, Tree], rank: int) -> set[str]:
    """Return the files that this rank stores: those that no lower rank has."""
    lower = {name for other, tree in trees.items() if other < rank for name in tree.files}
    return set(trees[rank].files) - lower if rank in trees else set()


def _refuse(wrong: list[str], way_out: str) -> None:
    if wrong:
        more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise CheckpointRefused(f"a checkpoint cannot be stored: {'; '.join(wrong[:SHOWN])}{more}. {way_out}")
