"""A trial's working directory: the project is there to read, and what is written is the trial's own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from orchestrator.engine.messages import Assignment, RunFacts
from orchestrator.engine.place import Home, NextHome, _overlay, audited, home_of
from orchestrator.engine.place._overlay import MOST_LINKS, CopiedCode
from orchestrator.record.shared import shared_files
from orchestrator.record.state import TrialRecord
from orchestrator.record.storage import Storage

pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with data, code, an earlier run's output, and a sibling with more data."""
    found = tmp_path / "me" / "code" / "project"
    for name, text in {
        "train.py": "print(open('data.txt').read())",
        "data.txt": "data",
        "conf/small/a.yaml": "a: 1",
        "out/best.pt": "of an earlier run by hand",
        ".git/HEAD": "ref",
        "runs/other/plan.json": "{}",
        "../data/more.txt": "more",
        "../../shared/all.txt": "all",
    }.items():
        (found / name).parent.mkdir(parents=True, exist_ok=True)
        (found / name).write_text(text)
    return found


def a_tick_of_the_clock(probe: Path) -> None:
    """Return once files get another time than before."""
    probe.touch()
    before = probe.stat().st_mtime_ns
    while probe.stat().st_mtime_ns == before:
        probe.touch()


def facts(project: Path, storage: Path | None = None) -> RunFacts:
    return RunFacts(
        None,  # type: ignore[arg-type]  # no part of where a trial works
        Storage.open(storage or project / "runs"),
        "study",
        None,
        "",
        "",
        0.0,
        project=str(project),
    )


def home(project: Path, cell: str = "0" * 12, storage: Path | None = None) -> Home:
    return home_of(facts(project, storage), Assignment(cell, "arm", 0, 1, {}, {}, f"study/trials/{cell}"))


def kept(project: Path, cell: str = "0" * 12) -> dict[str, str]:
    root = project / "runs" / "study" / "trials" / cell / "files"
    return {
        str(path.relative_to(root)): path.read_text(errors="replace")
        for path in root.rglob("*")
        if path.is_file()
    }


def test_the_project_is_there_to_read(project: Path) -> None:
    with home(project).entered():
        assert Path("data.txt").read_text() == "data"
        assert Path("conf/small/a.yaml").read_text() == "a: 1"
        assert Path("../data/more.txt").read_text() == "more"
        assert Path("../../shared/all.txt").read_text() == "all"
        assert Path(".git/HEAD").read_text() == "ref"
        assert Path("runs/other/plan.json").read_text() == "{}"
        done = subprocess.run([sys.executable, "train.py"], capture_output=True, text=True, check=True)
        assert done.stdout == "data\n"


def test_what_is_written_is_the_trial_s_and_kept_in_its_record(project: Path) -> None:
    before = Path.cwd()
    place = home(project)
    with place.entered() as told:
        Path("out/best.pt").write_text("mine")
        with Path("conf/small/a.yaml").open("a") as file:
            file.write("\nb: 2")
        Path("new/deep").mkdir(parents=True)
        Path("new/deep/log.csv").write_text("x")
        np.save("out/array.npy", np.zeros(2))
        Path("tmp").write_text("moved")
        os.replace("tmp", "data.txt")  # noqa: PTH105 - as programs do it
        Path("../data/more.txt").write_text("above")
        assert Path("out/best.pt").read_text() == "mine"
        assert Path("conf/small/a.yaml").read_text() == "a: 1\nb: 2"
    assert Path.cwd() == before
    assert (project / "out/best.pt").read_text() == "of an earlier run by hand"
    assert (project / "conf/small/a.yaml").read_text() == "a: 1"
    assert (project / "data.txt").read_text() == "data"
    assert told.told() == ((), ())
    place.keep()
    found = kept(project)
    assert found.pop("out/array.npy")
    assert found == {
        "out/best.pt": "mine",
        "conf/small/a.yaml": "a: 1\nb: 2",
        "new/deep/log.csv": "x",
        "data.txt": "moved",
        "beside/code/data/more.txt": "above",
    }
    assert not place.base.exists()


def test_torch_saves_into_the_trial_too(project: Path) -> None:
    save = audited(torch.save)
    with home(project).entered() as told:
        save({"a": 1}, "out/best.pt")
        save({"a": 2}, f=Path("out") / "best.pt")
        assert torch.load("out/best.pt") == {"a": 2}
    assert (project / "out/best.pt").read_text() == "of an earlier run by hand"
    assert told.told() == ((), ())


def test_an_attempt_finds_what_the_one_before_it_has_written(project: Path) -> None:
    place = home(project)
    with place.entered():
        Path("out/best.pt").write_text("of the first attempt")
    with place.entered():
        assert Path("out/best.pt").read_text() == "of the first attempt"


def test_files_elsewhere_are_told(project: Path, tmp_path: Path) -> None:
    save = audited(torch.save)
    with home(project).entered() as told:
        save(1, tmp_path / "best.pt")
        (tmp_path / "results.json").write_text("{}")
        with (tmp_path / "log.txt").open("a") as log:
            log.write("a line more spoils nothing")
        (tmp_path / "gone").write_text("")
        (tmp_path / "gone").unlink()
        (tmp_path / ".cache").mkdir()
        (tmp_path / ".cache" / "x").write_text("")
        (project / "data.txt").write_text("changed")
    wrote, shared = told.told()
    assert set(wrote) == {str(tmp_path / "best.pt"), str(tmp_path / "results.json")}
    assert shared == (str(project / "data.txt"),)


def test_a_file_that_native_code_changes_through_a_link_is_told(project: Path) -> None:
    with home(project).entered() as told:
        subprocess.run(["sh", "-c", "echo changed > data.txt; echo mine > out/new.txt"], check=True)
    assert told.told() == ((), (str(project / "data.txt"),))


def test_a_large_directory_is_linked_as_one_and_made_the_trial_s_when_it_writes_there(project: Path) -> None:
    images = project / "images"
    images.mkdir()
    for number in range(MOST_LINKS + 1):
        (images / f"{number}.txt").touch()
    place = home(project)
    with place.entered() as told:
        assert Path("images").is_symlink()
        assert len(list(Path("images").iterdir())) == MOST_LINKS + 1
        Path("images/index.json").write_text("{}")
        Path("images/1.txt").write_text("mine")
        assert len(list(Path("images").iterdir())) == MOST_LINKS + 2
    assert not (images / "index.json").exists()
    assert (images / "1.txt").read_text() == ""
    assert told.told() == ((), ())
    place.keep()
    assert set(kept(project)) == {"images/index.json", "images/1.txt"}


def test_a_directory_of_code_may_hold_more_files_than_are_linked(project: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy" / "pkg"
    copy.mkdir(parents=True)
    (copy / "model.py").touch()
    (project / "pkg").mkdir()
    for number in range(MOST_LINKS + 1):
        (project / "pkg" / f"{number}.txt").touch()
    (project / "zoo").mkdir()
    (project / "zoo" / "a.txt").write_text("a")
    with replace(home(project), code=CopiedCode(copy.parent, project)).entered():
        assert Path("pkg/model.py").is_symlink()
        assert Path("pkg/1.txt").exists()
        assert Path("zoo/a.txt").read_text() == "a"


@pytest.mark.parametrize("young", [None, 0])
def test_trials_of_a_process_use_one_directory_after_the_other_and_see_nothing_of_each_other(
    project: Path, young: int | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if young is not None:  # so that a directory's time is taken for what it says at once
        monkeypatch.setattr(_overlay, "_YOUNG_NS", young)
    ahead = NextHome(facts(project), None)
    ahead.begin()
    inode = None
    for cell in "0123":
        place = home(project, cell * 12)
        shows = ahead.becomes(place)
        assert (shows is None) == (cell == "2"), "a file has come"
        with place.entered(shows) as told:
            assert inode in (None, Path.cwd().stat().st_ino)
            inode = Path.cwd().stat().st_ino
            assert not {"made", "link", "pipe"} & {path.name for path in Path().iterdir()}
            assert Path("data.txt").read_text() == "data"
            assert Path("out/best.pt").read_text() == "of an earlier run by hand"
            assert Path("late.txt").exists() == (cell in "23")
            Path("out/best.pt").write_text(cell)
            Path("made").mkdir()
            Path("made/log.txt").write_text(cell)
            Path("link").symlink_to("made")
            os.mkfifo("pipe")
            Path("data.txt").unlink()
            Path("conf/small/a.yaml").unlink()
            Path("conf/small").rmdir()
        assert told.told() == ((), ())
        ahead.keep(place)
        a_tick_of_the_clock(tmp_path / "probe")
        if cell == "1":
            (project / "late.txt").touch()
    assert kept(project, "1" * 12) == {"out/best.pt": "1", "made/log.txt": "1"}
    assert (project / "conf/small/a.yaml").read_text() == "a: 1"
    ahead.drop()
    assert list((project / "runs/.places/study").iterdir()) == []


def test_what_a_trial_has_written_waits_for_its_next_attempt(project: Path) -> None:
    ahead = NextHome(facts(project), None)
    ahead.begin()
    for attempt in (1, 2):
        place = home(project)
        shows = ahead.becomes(place)
        with place.entered(shows):
            assert Path("state").exists() == (attempt == 2)
            Path("state").touch()
    other = home(project, "1" * 12)
    with other.entered(ahead.becomes(other)):
        assert not Path("state").exists()
    ahead.keep(other)
    ahead.keep(place)
    ahead.drop()
    assert kept(project) == {"state": ""}


def test_which_files_are_shared() -> None:
    def trial(arm: str, wrote: tuple[str, ...], shared: tuple[str, ...] = ()) -> TrialRecord:
        return TrialRecord(arm, arm, 0, wrote=wrote, shared=shared)

    found = shared_files([trial("a", ("/x", "/y")), trial("b", ("/x",)), trial("c", (), ("/p/data.txt",))])
    assert [str(file) for file in found] == [
        "/p/data.txt, a file of the project that all trials read, was changed by c seed 0",
        "/x was written by a seed 0 and b seed 0",
    ]
