"""A checkpoint is the tree that the user's code has made, whatever stores it, or it is refused by name."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import StorageUnavailable
from orchestrator.record.checkpoints import INSIDE, CheckpointStore, Manifest
from orchestrator.record.jsonlines import from_json, to_json
from orchestrator.record.layout import TrialPaths
from orchestrator.record.storage import Storage
from orchestrator.record.trees import CheckpointRefused, Tree, copy_tree, merge, owned, read_tree

TRIAL = TrialPaths("s/trials/a/seed-0")
NAME = "step-00000001"


def kept(storage: Storage, folder: Path) -> CheckpointStore:
    """What a worker does with one rank's directory."""
    store, tree = CheckpointStore(storage, TRIAL), read_tree(folder)
    store.begin(NAME)
    files = store.put_part(NAME, folder)
    store.commit(NAME, Manifest(1, None, 1, 1, 0.0, 1, files=files, links=tree.links, empty=tree.empty))
    return store


def made(folder: Path) -> dict[str, Any]:
    """Everything below a directory, links as links."""
    found: dict[str, Any] = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        else:
            found[name] = path.read_bytes() if path.is_file() else "directory"
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One of everything that can be kept."""
    folder = tmp_path / "mine"
    (folder / "deep" / "empty").mkdir(parents=True)
    (folder / "deep" / "weights.pt").write_bytes(b"w" * 100)
    (folder / "MANIFEST.json").write_text("the user's own")
    (folder / "latest").symlink_to("deep")
    (folder / "deep" / "same.pt").symlink_to("../deep/weights.pt")
    (folder / "me").symlink_to(".")
    return folder


def test_it_comes_back_exactly(storage: Storage, folder: Path, tmp_path: Path) -> None:
    before = made(folder)
    store = kept(storage, folder)
    assert made(store.fetch(NAME, tmp_path / "back")) == before == made(folder)
    lies = store.lies_at(NAME)
    assert lies is None or made(lies) == before
    assert store.discard_incomplete() == []


def test_links_that_lead_out_become_what_they_lead_to(local: Storage, tmp_path: Path) -> None:
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "mine"
    (elsewhere / "sub").mkdir(parents=True)
    (elsewhere / "sub" / "x").write_bytes(b"x")
    folder.mkdir()
    (folder / "file").symlink_to(elsewhere / "sub" / "x")
    (folder / "tree").symlink_to("../elsewhere")
    (folder / "absolute").symlink_to(folder / "file2")
    (folder / "file2").write_bytes(b"2")
    store = kept(local, folder)
    lies = store.lies_at(NAME)
    assert lies is not None
    assert made(lies) == {
        "file": b"x",
        "tree": "directory",
        "tree/sub": "directory",
        "tree/sub/x": b"x",
        "absolute": "-> file2",
        "file2": b"2",
    }
    local.refuse_links_out("s")
    copy_tree(folder, read_tree(folder), tmp_path / "copy")
    assert made(tmp_path / "copy") == made(lies)


def _circle(path: Path) -> None:
    path.symlink_to(path.name)


def _outer_circle(path: Path) -> None:
    outside = path.parents[2] / "outside"
    outside.mkdir()
    (outside / "back").symlink_to(outside)
    path.symlink_to(outside)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path))


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: path.symlink_to("nowhere"), "is a link to 'nowhere', which is not there"),
        (_circle, "which leads in a circle"),
        (_outer_circle, "leads back to a directory that it lies in"),
        (lambda path: os.mkfifo(path), "is a FIFO"),
        (_socket, "is a socket"),
        (lambda path: path.symlink_to("/dev/null"), "is a device"),
    ],
)
def test_what_cannot_be_kept_is_named(
    make: Any, why: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    make(folder / "deep" / "strange")
    with pytest.raises(CheckpointRefused, match="deep/") as told:
        read_tree(folder)
    assert why in str(told.value)
    assert "'deep/strange" in str(told.value)


def test_names_that_are_no_text_are_refused(folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.pt")).touch()
    with pytest.raises(CheckpointRefused, match="no UTF-8") as told:
        read_tree(folder)
    assert str(told.value).encode()


def test_a_name_is_used_again_and_nothing_of_before_is_left(storage: Storage, tmp_path: Path) -> None:
    for name in ("first.pt", "second.pt"):
        folder = tmp_path / name.removesuffix(".pt")
        folder.mkdir()
        (folder / name).touch()
        store = kept(storage, folder)
    assert list(made(store.fetch(NAME, tmp_path / "back"))) == ["second.pt"]


def test_checkpoints_of_earlier_versions_are_read_and_show_no_manifest(
    storage: Storage, folder: Path, tmp_path: Path
) -> None:
    (folder / INSIDE).unlink()
    store = kept(storage, folder)
    old = from_json(storage.read_bytes(TRIAL.manifest(NAME)))
    for new in ("links", "empty", "unusable"):
        old.pop(new)
    storage.delete_file(TRIAL.manifest(NAME))
    storage.write_atomic(f"{TRIAL.checkpoint(NAME)}/{INSIDE}", to_json(old))
    latest = store.latest()
    assert latest is not None
    assert INSIDE not in made(store.fetch(NAME, tmp_path / "back"))
    assert store.lies_at(NAME) is None
    store.reject(latest, "it could not be loaded")
    assert store.latest() is None
    assert store.warnings == [f"{TRIAL.checkpoint(NAME)}: it could not be loaded"]


@pytest.mark.parametrize(
    "lie",
    [{"links": {"x": "../../../etc"}}, {"links": {"/x": "y"}}, {"files": {"../x": 0}}, {"empty": ["/x"]}],
)
def test_a_manifest_that_names_other_places_is_none(
    lie: dict[str, Any], local: Storage, folder: Path, tmp_path: Path
) -> None:
    store = kept(local, folder)
    path = TRIAL.manifest(NAME)
    local.write_atomic(path, to_json({**from_json(local.read_bytes(path)), **lie}))
    assert store.latest() is None
    assert "unreadable manifest" in store.warnings[0]
    with pytest.raises(StorageUnavailable):
        store.fetch(NAME, tmp_path / "back")


PATHS = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join)


def _can_be(part: dict[str, bytes]) -> bool:
    """Whether these could be files of one directory: none is the directory of another."""
    return not any(str(above) in part for name in part for above in Path(name).parents)


PART = st.dictionaries(PATHS, st.binary(max_size=1), max_size=4).filter(_can_be)
PARTS = st.dictionaries(st.integers(0, 3), PART, max_size=4)


@given(parts=PARTS)
@settings(deadline=None)
def test_parts_of_ranks_are_merged_or_refused_and_each_file_is_stored_once(
    parts: dict[int, dict[str, bytes]],
) -> None:
    trees = {rank: Tree({name: len(data) for name, data in part.items()}) for rank, part in parts.items()}
    contents = {rank: {name: data.hex() for name, data in part.items()} for rank, part in parts.items()}
    everything = [(name, data) for part in parts.values() for name, data in part.items()]
    names = {name for name, _ in everything}
    folders = {str(above) for name in names for above in list(Path(name).parents)[:-1]}
    if len(set(everything)) > len(names) or names & folders:
        with pytest.raises(CheckpointRefused):
            merge(trees, contents)
        return
    assert merge(trees, contents).files == {name: len(data) for name, data in everything}
    stored = [name for rank in trees for name in owned(trees, rank)]
    assert sorted(stored) == sorted(names)


def test_ranks_that_disagree_are_told_apart() -> None:
    trees = {0: Tree({"state.pt": 5}), 1: Tree({"state.pt": 5})}
    with pytest.raises(CheckpointRefused, match=r"'state.pt' differs between ranks 0 and 1.*by its rank"):
        merge(trees, {0: {"state.pt": "a"}, 1: {"state.pt": "b"}})
    assert merge({0: Tree(empty=("a", "b")), 1: Tree({"a/x": 1})}, {}) == Tree({"a/x": 1}, {}, ("b",))


@pytest.mark.slow
@given(data=st.data())
@settings(deadline=None, max_examples=25)
def test_any_tree_of_files_directories_and_links_comes_back(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "mine"
        folder.mkdir()
        for name in data.draw(st.lists(PATHS, max_size=5)):
            path, kind = folder / name, data.draw(st.sampled_from(["file", "directory", "link"]))
            if any(above.is_file() or above.is_symlink() for above in (path, *path.parents)) or path.exists():
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            if kind == "link":
                path.symlink_to(data.draw(st.sampled_from([".", "a", "b/c", "..", "../a"])))
            elif kind == "file":
                path.write_bytes(name.encode())
            else:
                path.mkdir()
        inside = all(
            path.exists() and path.resolve().is_relative_to(folder)
            for path in folder.rglob("*")
            if path.is_symlink()
        )
        try:
            store = kept(Storage.open(Path(place) / "store"), folder)
        except CheckpointRefused:
            assert not inside
            return
        if inside:
            assert made(store.fetch(NAME, Path(place) / "back")) == made(folder)
