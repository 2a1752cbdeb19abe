"""What the command shows: nothing acts on the terminal, and no terminal stops a study."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from orchestrator.cli import console
from orchestrator.reporting.screen import Screen
from orchestrator.reporting.streams import Shown, fitting
from orchestrator.study.visible import shortened, visible, visible_json

HOSTILE = "\x1b]52;c;ZXZpbA==\x1b\\ \x1b[2J\0\x9b31m\u202e\udce9\U000e0041"
WORDS = [sys.executable, "-m", "orchestrator"]


@given(st.text(st.characters(codec=None)))
def test_what_is_visible_acts_on_nothing_and_fits_everywhere(text: str) -> None:
    shown = visible(text)
    assert visible(shown) == shown
    bad = [c for c in shown if unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t"]
    assert bad == []
    for encoding in ("utf-8", "latin-1", "ascii", "cp1252", "utf-16"):
        fitting(shown, encoding).encode(encoding)
    assert json.loads(visible_json(json.dumps(text, ensure_ascii=False))) == json.loads(json.dumps(text))


@given(st.text(st.characters(codec=None)))
def test_every_way_to_the_terminal_escapes(text: str) -> None:
    raw = io.TextIOWrapper(io.BytesIO(), encoding="latin-1", write_through=True)
    Shown(raw).write(text)
    screen = Screen(raw, width=20)
    screen.print(text, markup=False)
    screen.print(Text(text, style="bold"))
    screen.print(console.table(["arm", "b"], [[text, text]]))
    written = raw.buffer.getvalue().decode("latin-1")  # type: ignore[attr-defined]
    assert [c for c in written if unicodedata.category(c) == "Cc" and c not in "\n\t"] == []


def test_long_lines_are_cut() -> None:
    assert shortened("short\n" + "x" * 300_000) == "short\n" + "x" * 2000 + "… (300,000 characters)"
    assert shortened("a\nb") == "a\nb"


def test_signs_that_an_encoding_lacks() -> None:
    assert fitting("Δ ± 0.5, ✓✗■ – é 日", "latin-1") == "D ± 0.5, +x# - é \\u65e5"
    assert fitting("Δ ± 0.5 … é", "ascii") == "D +- 0.5 ... \\xe9"


class Broken(io.StringIO):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error, self.tries = error, 0

    def write(self, text: str) -> int:
        self.tries += 1
        raise self.error


@pytest.mark.parametrize(
    "error", [BrokenPipeError(), OSError(28, "full"), ValueError("closed"), OSError(5, "gone")]
)
def test_a_stream_that_fails_is_left_alone(error: Exception) -> None:
    stream = Broken(error)
    shown = Shown(stream)
    for _ in range(3):
        shown.write("text")
        shown.document("{}")
        shown.flush()
        Screen(shown).print("text")  # type: ignore[arg-type]
    assert (shown.lost, stream.tries) == (error, 1)


def test_hostile_words_of_a_study_file(command, study: Path) -> None:
    text = study.read_text().replace("does it matter?", '"\\e]52;c;ZXZpbA==\\e\\\\ \\e[2J \\u202e"')
    study.write_text(text)
    for words in (
        ["plan"],
        ["plan", "--json"],
        ["ablate", "--dry-run"],
        ["validate"],
        ["validate", f"x={HOSTILE}"],
    ):
        result = command(*words, "-c", study)
        assert "\x1b" not in result.out + result.err
        assert "\u202e" not in result.out + result.err
    assert "\\x1b]52;c;ZXZpbA==" in command("plan", "-c", study).out
    assert "\x1b[2J" in command("plan", "-c", study, "--json").document["arms"][1]["why"]


@pytest.mark.parametrize("width", [1, 20])
def test_a_narrow_terminal(command, recorded: Path, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for words in (["status", recorded], ["report", recorded], ["plan", "-c", "study.yaml"], ["--help"]):
        assert command(*words).code in (0, 1)


def run(*words: object, **options: object) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, **options.pop("env", {})}  # type: ignore[dict-item]
    return subprocess.run([*WORDS, *map(str, words)], env=environment, check=False, **options)  # type: ignore[call-overload, no-any-return]


@pytest.mark.slow
@pytest.mark.parametrize(
    "encoding",
    [
        *(pytest.param(name, marks=pytest.mark.long) for name in ("latin-1", "ascii")),
        "utf-8",
        "cp1252:strict",
    ],
)
def test_encodings(recorded: Path, encoding: str) -> None:
    name = encoding.partition(":")[0]
    done = run("report", recorded, capture_output=True, env={"PYTHONIOENCODING": encoding, "LANG": "C"})
    assert (done.returncode, done.stderr) == (1, b"")  # it is not finished
    assert ("D" if name != "utf-8" else "Δ") in done.stdout.decode(name)


@pytest.mark.slow
def test_a_document_for_programs_is_utf_8(recorded: Path) -> None:
    done = run("report", recorded, "--json", capture_output=True, env={"PYTHONIOENCODING": "cp1252:strict"})
    assert json.loads(done.stdout.decode("utf-8"))["study"] == "small"


@pytest.mark.slow
def test_a_stdout_that_is_gone_closed_or_full(recorded: Path) -> None:
    shell = f"{sys.executable} -m orchestrator status {recorded}"
    for redirect, code, said in (
        ("| head -1 >/dev/null; exit ${PIPESTATUS[0]}", 0, ""),
        (">&-", 0, ""),
        (">&- 2>&- <&-", 0, ""),
        (">/dev/full", 4, "error: stdout cannot be written: No space left on device\n"),
        (">/dev/full 2>&1", 4, ""),
    ):
        done = subprocess.run(
            ["bash", "-c", f"{shell} {redirect}"], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (code, "", said), redirect
    assert (recorded / "journal.jsonl").read_text().count("\n") > 5


@pytest.mark.slow
def test_a_real_terminal_of_twenty_columns(recorded: Path) -> None:
    ours, theirs = pty.openpty()
    env = {"COLUMNS": "20", "LINES": "10", "TERM": "xterm"}
    assert run("status", recorded, stdout=theirs, stderr=theirs, env=env).returncode == 0
    os.close(theirs)
    assert b"baseline" in os.read(ours, 65536)
    os.close(ours)
