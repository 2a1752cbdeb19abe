"""Run directories that are damaged or hostile: told in a line, exit code 4, never at the others' cost."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from mutations import HOST, RECORDS, faults

from orchestrator.api.recorded import open_study
from orchestrator.cli.app import main
from orchestrator.errors import StudyError, UnreadableRecord
from orchestrator.record.events import KINDS
from orchestrator.record.journal import decode
from orchestrator.record.jsonlines import from_json, to_json
from orchestrator.record.layout import StudyPaths
from orchestrator.record.lease import is_alive, read_lease
from orchestrator.record.storage import Storage
from orchestrator.web.answers import Site
from orchestrator.web.app import make_app
from orchestrator.web.children import ChildProcesses
from orchestrator.web.guard import Sessions

WITHIN_S = 2.0
"""Refused; on a busy machine."""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A sound study, beside a second one that nobody touches."""
    for name in ("study", "sound"):
        shutil.copytree(RECORDS / "failures", tmp_path / "runs" / name)
    return tmp_path / "runs" / "study"


def page(study: Path) -> str:
    """The list of all studies."""
    site = Site(
        ChildProcesses(study.parents[1]), Storage.open(study.parent), Sessions("t"), "127.0.0.1", 8765
    )
    client = TestClient(make_app(site), base_url=f"http://{HOST}{site.sessions.base}")
    client.get("/", params={"token": "t"})
    answer = client.get("/")
    assert answer.status_code == 200
    assert client.get("/studies/study/").status_code in (200, 400, 404)
    return answer.text


def yaml_with(old: str, new: str) -> Callable[[Path], None]:
    return lambda study: (
        (study / "study.yaml").write_text((study / "study.yaml").read_text().replace(old, new)) and None
    )


def content(name: str, text: str | bytes) -> Callable[[Path], None]:
    data = text.encode() if isinstance(text, str) else text
    return lambda study: (study / name).write_bytes(data) and None


def instead(name: str, make: Callable[[Path], Any]) -> Callable[[Path], None]:
    def put(study: Path) -> None:
        (study / name).unlink()
        make(study / name)

    return put


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


def a_terabyte(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


BOMB = "\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))])
DAMAGED: dict[str, tuple[str, Callable[[Path], None]]] = {
    "a list": ("study.yaml", content("study.yaml", "[1,2]")),
    "none": ("study.yaml", lambda study: (study / "study.yaml").unlink()),
    "no number": ("study.yaml", yaml_with("max: ", "max: abc #")),
    "zero": ("study.yaml", yaml_with("max: ", "max: 0 #")),
    "no metric": ("study.yaml", yaml_with("metric:", "metrics:")),
    "no seeds": ("study.yaml", yaml_with("seeds:", "seed:")),
    "no storage": ("study.yaml", yaml_with("storage:", "stores:")),
    "a bomb": ("study.yaml", content("study.yaml", BOMB)),
    "6 MB": ("study.yaml", content("study.yaml", "x: " + "a" * 6_000_000)),
    "deep YAML": ("study.yaml", content("study.yaml", "[" * 20_000)),
    "a tag": ("study.yaml", content("study.yaml", "!!python/object:os.system x")),
    "no UTF-8": ("study.yaml", content("study.yaml", b"x: \xff\xfe")),
    "deep JSON": ("plan.json", content("plan.json", "[" * 100_000)),
    "many values": ("plan.json", content("plan.json", "[" + "{}," * 3_000_000 + "1]")),
    "no plan": ("plan.json", content("plan.json", '{"arms": [], "cells": [], "study": 1}')),
    "env": ("env.json", content("env.json", '{"git": "x"}')),
    "a folder": ("plan.json", instead("plan.json", Path.mkdir)),
    "a pipe": ("study.yaml", instead("study.yaml", os.mkfifo)),
    "a pipe as the plan": ("plan.json", instead("plan.json", os.mkfifo)),
    "a socket": ("plan.json", instead("plan.json", a_socket)),
    "a link out": ("study.yaml", instead("study.yaml", lambda path: path.symlink_to("/etc/passwd"))),
    "a loop": ("journal.jsonl", instead("journal.jsonl", lambda path: path.symlink_to(path.name))),
    "a terabyte": ("journal.jsonl", instead("journal.jsonl", a_terabyte)),
    "a pipe as the journal": ("journal.jsonl", instead("journal.jsonl", os.mkfifo)),
    "rubbish": ("journal.jsonl", content("journal.jsonl", "\n" * 100_000)),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("what", DAMAGED)
def test_what_cannot_be_read_is_told_with_its_file_and_exit_code_4(
    what: str, study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, damage = DAMAGED[what]
    damage(study)
    began = time.monotonic()
    for words in (["status"], ["report"], ["logs", "baseline", "0", "--study"]):
        assert main([*words, str(study)]) == 4
        told = capsys.readouterr().err
        assert f"{study}/{file}" in told
        assert "Traceback" not in told
        assert len(told) < 2000
    assert time.monotonic() - began < 3 * WITHIN_S
    with pytest.raises(UnreadableRecord):
        open_study(study).status()
    listed = page(study)
    assert listed.count('class="warning"') == 1
    assert '/studies/sound/"' in listed


HARMLESS = {
    "60 MB in a line": b'{"event":"note","text":"' + b"x" * (60 << 20) + b'"}\n',
    "a plan that makes no sense": b'{"v":1,"t":2,"event":"plan","driver":9,"taken":{"1":"x"}}\n',
    "a driver that is none": b'{"v":1,"t":2,"event":"note","text":"x","driver":-1}\n',
    "an event that is none": b'{"v":1,"t":2,"event":[]}\n',
    "a version that is none": b'{"v":"x","t":2,"event":"note","text":"x"}\n',
    "a time beyond all": b'{"v":1,"t":1' + b"0" * 400 + b',"event":"note","text":"x"}\n',
    "a rung beyond all": b'{"v":1,"t":1,"event":"report","rung":1' + b"0" * 400 + b"}\n",
    "deep": b'{"event":"note","text":' + b"[" * 100_000 + b"\n",
    "a batch that is none": b'{"event":"batch","driver":9,"reason":"x","new_arms":[{}],"new_cells":[]}\n',
}


@pytest.mark.slow
@pytest.mark.parametrize("what", HARMLESS)
def test_lines_that_make_no_sense_are_counted_and_passed_over(
    what: str, study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", str(study), "--json"]) == 0
    before = json.loads(capsys.readouterr().out)
    with (study / "journal.jsonl").open("ab") as journal:
        journal.write(HARMLESS[what] + b'{"event":"no')
    assert main(["status", str(study), "--json"]) == 0
    after = json.loads(capsys.readouterr().out)
    assert after["cells"] == before["cells"]
    passed_over = [after["damaged_lines"], len(after["problems"]) - len(before["problems"])]
    assert sorted(passed_over) == [0, 1]
    assert after["torn_bytes"] == len(b'{"event":"no')
    assert "sound" in page(study)


@pytest.mark.parametrize("name", ["linked", "looped"])
def test_a_link_among_the_studies_costs_no_other_its_place(study: Path, name: str) -> None:
    (study.parent / name).symlink_to({"linked": "/etc", "looped": "looped"}[name])
    listed = page(study)
    assert listed.count('class="warning"') == (name == "linked")
    assert '/studies/sound/"' in listed


def test_a_directory_whose_name_is_no_text_is_a_marked_row(study: Path) -> None:
    shutil.copytree(study, os.fsdecode(os.fsencode(study.parent) + b"/\xff\xfe"))
    assert "\\xff\\xfe" in page(study)


def test_what_only_helps_is_left_aside(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A lease or a request that is none holds nobody up."""
    (study / "control").mkdir(exist_ok=True)
    for name in ("lease.json", "progress.json", "request-1.json"):
        (study / "control" / name).unlink(missing_ok=True)
        os.mkfifo(study / "control" / name)
    (study / "effects.json").write_text('{"effects": [{"arm": 1, "n": "x"}]}')
    assert main(["status", str(study)]) == 0
    assert main(["stop", str(study)]) == 0
    assert "nobody runs it" in capsys.readouterr().err
    assert "sound" in page(study)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["v", "t", "driver", "cell", "taken", "arm", "rung"]), values), values)
def test_any_line_is_an_event_or_is_none(fields: dict[str, Any], kind: Any) -> None:
    for event in (kind, *KINDS):
        with contextlib.suppress(StudyError):  # of another version
            decode(to_json({**fields, "event": event}))


@given(st.binary(max_size=300) | values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_json_or_are_refused(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        to_json(from_json(data)).decode()


@pytest.mark.slow
@given(
    st.dictionaries(st.sampled_from(["host", "pid", "started", "beat", "driver", "token", "user"]), values)
)
def test_any_lease_is_alive_or_is_not(
    tmp_path_factory: pytest.TempPathFactory, lease: dict[str, Any]
) -> None:
    storage, paths = Storage.open(tmp_path_factory.getbasetemp() / "leases"), StudyPaths("study")
    storage.write_atomic(paths.lease, to_json(lease))
    owner = read_lease(storage, paths)
    assert owner is None or is_alive(owner, 1000.0) in (True, False)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 9))
def test_damaged_directories_are_read_without_a_traceback(seed: int, tmp_path: Path) -> None:
    assert faults(seed, sorted(RECORDS.iterdir()), tmp_path) == []


@pytest.mark.long
def test_two_thousand_damaged_directories(tmp_path: Path) -> None:
    """No traceback, none longer than five seconds, memory below 500 MB."""
    script = str(Path(__file__).with_name("mutations.py"))
    done = subprocess.run(
        [sys.executable, script, "--count", "2000"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
