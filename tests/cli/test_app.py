"""The command as a whole: light to start, one line per fault."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator import __version__
from orchestrator.cli import console
from orchestrator.errors import ClusterUnavailable, Fault, StudyError

HEAVY = ("ray", "torch", "pydantic", "pyarrow", "numpy", "yaml", "rich")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "allowed"),
    [
        (["--help"], []),
        (["--version"], []),
        (["ablate", "--help"], ["pydantic"]),  # typer itself reads defaults with it where it is installed
    ],
)
def test_help_imports_nothing_heavy(words: list[str], allowed: list[str]) -> None:
    script = (
        "import sys\n"
        "from orchestrator.cli.app import main\n"
        f"code = main({words!r})\n"
        f"print(code, [name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == f"0 {allowed}"


def test_version(command) -> None:
    assert command("--version").out == f"orchestrate {__version__}\n"


@pytest.mark.parametrize(
    "words", [["nonsense"], ["validate"], ["validate", "--confg", "x"], ["logs", "a", "b"]]
)
def test_words_that_make_no_command_are_bad_input(command, words: list[str]) -> None:
    result = command(*words)
    assert result.code == 2
    assert result.out == ""
    assert "Traceback" not in result.err


def test_errors_are_one_line_per_fault(capsys: pytest.CaptureFixture[str]) -> None:
    error = StudyError([Fault("one\ntwo", "study.yaml", 3, "seeds"), Fault("three", hint="valid: four")])
    console.show_error(error, as_json=False)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["error: study.yaml:3: seeds: one two", "error: three; valid: four"]


def test_errors_for_programs() -> None:
    error = StudyError(Fault("bad", "study.yaml", 3, "seeds", "[]", "valid: 1"))
    assert console.error_document(error) == {
        "error": "StudyError",
        "exit_code": 2,
        "faults": [
            {
                "message": "bad",
                "file": "study.yaml",
                "line": 3,
                "field": "seeds",
                "value": "[]",
                "hint": "valid: 1",
            }
        ],
    }
    assert console.error_document(ClusterUnavailable("gone"))["exit_code"] == 4


def test_json_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    console.data_json({"a": float("nan"), "b": [float("-inf"), Path("x")]})
    assert capsys.readouterr().out == '{\n  "a": "nan",\n  "b": [\n    "-inf",\n    "x"\n  ]\n}\n'
