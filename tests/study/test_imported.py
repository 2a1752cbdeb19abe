"""Which files a study's results depend on: what it names, and what that imports, by reading alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.study.imported import closure, counted_files, imported_by
from orchestrator.study.spec import StudySpec

TREE = {
    "train.py": "import pkg.net\nfrom pkg import data as d, other\nimport os\nfrom common import x",
    "common.py": "def f():\n    from late import y",
    "late.py": "",
    "other.py": "import nobody",
    "notebook_helper.py": "",
    "pkg/__init__.py": "",
    "pkg/net.py": "from .layers.conv import Conv\nfrom . import sibling\nfrom ..top import z",
    "pkg/sibling.py": "import importlib\nimportlib.import_module('plugin.one')",
    "pkg/data.py": "x = (",
    "pkg/layers/conv.py": "from ... import outside",
    "pkg/unused.py": "import notebook_helper",
    "plugin/one.py": "",
    "plugin/two.py": "",
    "top.py": "",
    "src/run.py": "import helper",
    "src/helper.py": "import deep.inner",
    "src/deep/inner.py": "import helper2",
    "src/helper2.py": "",
    "run.sh": "python src/run.py",
    "jl/main.jl": 'include("model.jl")',
    "jl/model.jl": "",
}
FILES = {name: text.encode() for name, text in TREE.items()}
PKG = {
    "pkg/__init__.py",
    "pkg/net.py",
    "pkg/data.py",
    "pkg/sibling.py",
    "pkg/layers/conv.py",
    "plugin/one.py",
}
TRAIN = {"train.py", "common.py", "late.py", "top.py"} | PKG
SRC = {"src/run.py", "src/helper.py", "src/deep/inner.py", "src/helper2.py"}


def spec(entrypoint: Any = "train:main", **changes: Any) -> StudySpec:
    data = {
        "name": "x",
        "entrypoint": entrypoint,
        "metric": {"name": "m", "mode": "max"},
        "baseline": {"a": 1},
        "components": {"a": {"without": {"a": 2}}},
        "seeds": 2,
        "stopping": {"max": 2},
    }
    return StudySpec.model_validate({**data, **changes})


@pytest.mark.parametrize(
    ("start", "found"),
    [
        ("train.py", TRAIN),
        ("src/run.py", SRC),
        ("run.sh", {"run.sh"} | SRC),
        ("jl/main.jl", {"jl/main.jl", "jl/model.jl"}),
        ("pkg/data.py", {"pkg/data.py"}),
    ],
)
def test_the_files_that_a_file_imports_one_through_the_other(start: str, found: set[str]) -> None:
    assert closure(FILES, [start]) == found


@pytest.mark.parametrize(
    ("changes", "more"),
    [
        ({}, set()),
        ({"datasets": "plugin.two:datasets"}, {"plugin/two.py"}),
        ({"baseline": {"a": {"_target_": "pkg.unused.Net"}}}, {"pkg/unused.py", "notebook_helper.py"}),
        ({"components": {"a": {"swap": {"b": {"a": "plugin.two:Net"}}}}}, {"plugin/two.py"}),
        ({"baseline": {"a": "late", "b": "no.such.module:name", "c": "an 'odd word"}}, set()),
        ({"entrypoint": "absent:main"}, TREE.keys() - TRAIN),
    ],
)
def test_what_a_study_names_counts(changes: dict[str, Any], more: set[str]) -> None:
    assert counted_files(FILES, spec(**changes)) == TRAIN | more


@pytest.mark.parametrize(
    "command",
    [
        "python -u ./src/run.py --lr {a}",
        ["torchrun", "src/run.py"],
        ["python", "-m", "src.run"],
        "python -m src.run",
    ],
)
def test_a_command_counts_by_the_files_that_its_words_name(command: Any) -> None:
    assert counted_files(FILES, spec({"command": command})) == SRC


def test_what_trials_were_seen_to_import_counts_with_what_it_imports() -> None:
    assert counted_files(FILES, spec(), ["pkg/unused.py"]) == TRAIN | {"pkg/unused.py", "notebook_helper.py"}


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("import a.b as c, d  # e", ["a.b", "d"]),
        ("from a import (  # of (b)\n    b as x,  # and c, d\n    e,\n)", ["a", "a.b", "a.e"]),
        ("from a import b \\\n    , c; import d", ["a", "a.b", "a.c", "d"]),
        ("try: from . import b\nexcept ImportError: import c", ["p", "p.b", "c"]),
        ("if x:\r\n\timport a\r\n\tfrom .. import b", ["a", "b"]),
        ("from a import *", ["a", "a.*"]),
        ("x = importlib.import_module( 'a.b' ); __import__('c')", ["a.b", "c"]),
        ("\N{BYTE ORDER MARK}import a\nimportant = 1\nfrom_here = 2; reimport = 3", ["a"]),
        ("x = (\nimport a", ["a"]),
    ],
)
def test_what_a_text_imports(line: str, names: list[str]) -> None:
    assert list(imported_by(line.encode(), "p/q.py")) == names


@given(st.dictionaries(st.sampled_from(sorted(TREE)), st.binary() | st.text().map(str.encode)))
def test_no_file_is_too_odd_to_be_read(files: dict[str, bytes]) -> None:
    assert closure(files, files) == files.keys()
