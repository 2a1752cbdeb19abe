"""What every `Backend` has to keep: a test of a new one calls each of `PROMISES` with an empty place.

    @pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
    def test_promises(promise, tmp_path):
        promise(MyBackend(...))

Each returns, or raises `AssertionError` with what was broken. Nothing here needs pytest.
"""

from __future__ import annotations

import copy
import pickle
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from orchestrator.record.storage.backend import Backend

REPLACED = 200
"""How often a file is replaced while it is read."""
_NAMES = ("optimizer=sgd", "a b", "größe", "100%25", "code.tar.gz", "state.bz2", ".hidden", "x" * 150)


def files_come_back(place: Backend) -> None:
    """Check that what is written is read, whatever the name and the bytes; the last one counts."""
    for number, name in enumerate(_NAMES):
        content = bytes([number, 0, 255]) * number
        place.write(f"deep/er/{name}", b"first, and longer than what follows")
        place.write(f"deep/er/{name}", content)
        _same(place.read(f"deep/er/{name}"), content, f"the content of {name!r}")
        _same(place.read(f"deep/er/{name}", written_once=True), content, f"the content of {name!r}")
    place.write("at the root", b"1")
    _same(place.read("at the root"), b"1", "the content of a file at the root")


def what_is_missing_is_told(place: Backend) -> None:
    """`FileNotFoundError` from `read`; None and nothing from the others."""
    place.write("there/file", b"1")
    for path in ("nowhere", "nowhere/file", "there/other"):
        try:
            place.read(path)
        except FileNotFoundError:
            pass
        else:
            raise AssertionError(f"read({path!r}) of what is not there raised nothing")
        _same(place.look_up(path), None, f"look_up({path!r})")
        _same(list(place.list(path)), [], f"list({path!r})")
        for delete in (place.delete_file, place.delete_dir):
            with suppress(FileNotFoundError):
                delete(path)
    _same(place.read("there/file"), b"1", "the file beside what was missing")


def listings_are_complete(place: Backend) -> None:
    """Names, kinds and sizes of what lies directly in a directory, at once after it was written."""
    place.write("study/journal", b"12345")
    place.write("study/trials/a/metrics", b"")
    place.write("study/trials/a/checkpoints/part", b"123")
    place.write("study-2/journal", b"1")
    _same(_listed(place, "study"), [("journal", False, 5), ("trials", True, 0)], "list('study')")
    _same(_listed(place, "study/trials/a"), [("checkpoints", True, 0), ("metrics", False, 0)], "list")
    _same(_listed(place, ""), [("study", True, 0), ("study-2", True, 0)], "list('') of the root")
    for path, expected in (("study/trials", (True, 0)), ("study/journal", (False, 5))):
        found = place.look_up(path)
        _same(found and (found.is_dir, found.size), expected, f"look_up({path!r})")
    place.write("study/journal", b"1")
    _same(_listed(place, "study")[0], ("journal", False, 1), "the listing of a replaced file")


def deletions_take_what_they_should(place: Backend) -> None:
    """Check that a directory goes with all below it, and nothing beside it; a file goes alone."""
    for path in ("a/b/c/deep", "a/b/file", "a/bb/file", "a/other"):
        place.write(path, b"1")
    place.delete_dir("a/b")
    _same(place.look_up("a/b/c/deep"), None, "a file below a deleted directory")
    _same([name for name, *_ in _listed(place, "a")], ["bb", "other"], "what is left beside it")
    place.delete_file("a/other")
    _same([name for name, *_ in _listed(place, "a")], ["bb"], "what is left beside a deleted file")


def files_go_in_and_out(place: Backend) -> None:
    """`put`, `get` and `copy` change no byte and say how many there were."""
    content = bytes(range(256)) * 9000  # more than is copied at once
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "weights.pt.gz", Path(folder) / "target"
        source.write_bytes(content)
        _same(place.put(source, "step-1/weights.pt.gz"), len(content), "the bytes that `put` counts")
        place.settle("step-1")
        place.copy("step-1/weights.pt.gz", "step-2/weights.pt.gz")
        place.get("step-2/weights.pt.gz", target)
        _same(target.read_bytes() == content, True, "that what comes back is what went in")
        _same(_listed(place, "step-1"), [("weights.pt.gz", False, len(content))], "the listing after `put`")


def a_renamed_directory_is_whole(place: Backend) -> None:
    """Check that it is at the new place with all it has, or, where that cannot be done, untouched."""
    place.write("old/a/b", b"1")
    place.write("old/c", b"2")
    here, gone = ("new", "old") if place.rename("old", "new") else ("old", "new")
    _same(place.read(f"{here}/a/b") + place.read(f"{here}/c"), b"12", "what the directory holds")
    _same(place.look_up(f"{gone}/c"), None, "the other name")


def what_is_appended_stays(place: Backend) -> None:
    """Check that a file grows at its end, over several openings; places without such files say None."""
    for line in (b"one", b"two"):
        growing = place.appender("log/lines")
        if growing is None:
            return
        growing.append([line, line])
        growing.sync()
        _same(place.read("log/lines").endswith(line + b"\n"), True, "that what was synced is read")
        growing.close()
        growing.close()
    _same(place.read("log/lines"), b"one\none\ntwo\ntwo\n", "what two openings have appended")


def readers_see_whole_files(place: Backend) -> None:
    """Of a file that is replaced all the time, every reading is one of its contents, whole."""
    contents = [bytes([65 + size]) * (1 + 3000 * size) for size in range(7)]
    place.write("lease", contents[0])
    over = threading.Event()
    failed: list[BaseException] = []

    def replace() -> None:
        try:
            for turn in range(REPLACED):
                place.write("lease", contents[turn % 7])
        except BaseException as error:  # raised below, in the thread that asks
            failed.append(error)
        over.set()

    writer = threading.Thread(target=replace)
    writer.start()
    try:
        while not over.is_set():
            found = place.read("lease")
            if found not in contents:
                raise AssertionError(f"a reader got {len(found)} bytes, {found[:1]!r}..., of a replaced file")
    finally:
        writer.join()
    if failed:
        raise failed[0]
    _same([name for name, *_ in _listed(place, "")], ["lease"], "what replacing leaves behind")


def one_at_a_time(place: Backend) -> None:
    """Who waits for a path gets in when the other has left it; it may be asked for again and again."""
    inside: list[int] = []

    def enter(number: int) -> None:
        with place.exclusively("study/control/.lock"):
            inside.append(number)

    for number in range(3):
        thread = threading.Thread(target=enter, args=(number,))
        thread.start()
        thread.join()
    _same(inside, [0, 1, 2], "who came in")


def it_travels(place: Backend) -> None:
    """Check that a place can be pickled, and that what its state makes anew is the same place."""
    place.write("x", b"1")
    pickle.dumps(place)
    there = copy.deepcopy(place)  # takes the road of unpickling, and loads nothing from bytes
    _same((there, there.uri), (place, place.uri), "the place made anew")
    _same(there.read("x"), b"1", "what it reads")


def a_probe_leaves_nothing(place: Backend) -> None:
    """Asking whether it can be written changes nothing."""
    place.probe(".probe")
    _same(_listed(place, ""), [], "what a probe leaves behind")


PROMISES: tuple[Callable[[Backend], None], ...] = (
    files_come_back,
    what_is_missing_is_told,
    listings_are_complete,
    deletions_take_what_they_should,
    files_go_in_and_out,
    a_renamed_directory_is_whole,
    what_is_appended_stays,
    readers_see_whole_files,
    one_at_a_time,
    it_travels,
    a_probe_leaves_nothing,
)


def _listed(place: Backend, path: str) -> list[tuple[str, bool, int]]:
    return sorted((item.name, item.is_dir, item.size) for item in place.list(path))


def _same(found: Any, expected: Any, what: str) -> None:
    if found != expected:
        raise AssertionError(f"{what}: {found!r}, not {expected!r}")
