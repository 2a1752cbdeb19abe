"""Entrypoints are found and checked without running a line of the user's code."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from orchestrator.errors import StudyError
from orchestrator.study.entrypoint import locate, refuse_what_cannot_run

CODE = """\
raise RuntimeError("imported")
import os.path
from a import b as c
def function(): inner = 1
async def coroutine(): ...
class Task:
    attribute = 1
value: int = 1
first, (second, *rest) = f()
try:
    if x:
        with y as handle:
            nested = 1
except ImportError:
    fallback = None
"""


def error(entrypoint: str, folder: Path) -> str:
    with pytest.raises(StudyError) as caught:
        locate(entrypoint, folder / "configs" / "s.yaml", folder)
    return str(caught.value)


@pytest.mark.parametrize(
    "name",
    ["os", "c", "function", "coroutine", "Task", "value", "first", "second", "rest", "handle", "nested"],
)
def test_names_at_the_top_level(tmp_path: Path, name: str) -> None:
    (tmp_path / "code.py").write_text(CODE)
    source = locate(f"code:{name}", tmp_path / "s.yaml", tmp_path)
    assert (source.module, source.name, source.file) == ("code", name, tmp_path / "code.py")
    assert source.root == tmp_path


@pytest.mark.parametrize("name", ["inner", "attribute", "b", "missing"])
def test_names_that_are_not_there(tmp_path: Path, name: str) -> None:
    (tmp_path / "code.py").write_text(CODE)
    assert f"does not define '{name}'" in error(f"code:{name}", tmp_path)


def test_the_nearest_name_is_given(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text(CODE)
    assert "did you mean Task?" in error("code:task", tmp_path)
    assert "did you mean code?" in error("cod:Task", tmp_path)


@pytest.mark.parametrize("text", ["from x import *", "def __getattr__(name): ..."])
def test_modules_that_may_define_anything(tmp_path: Path, text: str) -> None:
    (tmp_path / "code.py").write_text(text)
    assert locate("code:Anything", tmp_path / "s.yaml", tmp_path).name == "Anything"


def test_current_directory_first_then_the_study_files(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        (folder / "pkg").mkdir(parents=True)
    (there / "pkg" / "__init__.py").write_text("")
    (there / "pkg" / "mod.py").write_text("x = 1")
    assert locate("pkg.mod:x", there / "s.yaml", here).root == there
    (here / "pkg" / "mod.py").write_text("x = 1")
    assert locate("pkg.mod:x", there / "s.yaml", here).root == here
    assert locate("pkg.mod:x", there / "s.yaml", here).file == here / "pkg" / "mod.py"


def test_packages_and_installed_modules(tmp_path: Path) -> None:
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__init__.py").write_text("x = 1")
    assert locate("pkg:x", tmp_path / "s.yaml", tmp_path).file.name == "__init__.py"
    installed = locate("xml.dom.minidom:parse", tmp_path / "s.yaml", tmp_path)
    assert installed.file.name == "minidom.py"
    assert installed.root == installed.file.parents[2]
    assert locate("textwrap:dedent", tmp_path / "s.yaml", tmp_path).file.name == "textwrap.py"
    assert "xml.dom.pulldom" not in sys.modules


def test_what_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("x = 1\ndef f(:\n")
    (tmp_path / "latin.py").write_bytes(b"# \xff\nx = 1\n")
    message = error("bad:f", tmp_path)
    assert message.startswith(f"{tmp_path / 'bad.py'}:2: entrypoint: the module cannot be parsed")
    assert "latin.py" in error("latin:x", tmp_path)
    assert "there is no module 'nowhere.mod'" in error("nowhere.mod:x", tmp_path)
    assert "looked in" in error("nowhere.mod:x", tmp_path)
    assert "must be module:name" in error("a-b:x", tmp_path)
    assert "must be module:name" in error("code", tmp_path)
    assert "there is no module 'sys'" in error("sys:path", tmp_path)


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import os.path as train", "is a module"),
        ("def train(): ...", "takes no config"),
        ("def train(*, config): ...", "takes no config"),
        ("async def train(config): ...", "is async"),
        ("train = 3", "is a plain value"),
        ("def train(config): ...", None),
        ("@wrapped\ndef train(): ...", None),
        ("def train(*words): ...", None),
        ("class train: ...", None),
        ("def train(): ...\ntrain = wrapped(train)", None),
    ],
)
def test_what_cannot_be_a_trial_is_refused_unread(tmp_path: Path, code: str, why: str | None) -> None:
    (tmp_path / "code.py").write_text(code)
    source = locate("code:train", tmp_path / "s.yaml", tmp_path)
    if why is None:
        refuse_what_cannot_run(source, "code:train", tmp_path / "s.yaml")
        return
    with pytest.raises(StudyError, match=rf"entrypoint: train in .* {why}.*def train\(config\)"):
        refuse_what_cannot_run(source, "code:train", tmp_path / "s.yaml")
