"""What a shell is told may come next; the scripts themselves are the library's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cli.completion import VARIABLE


@pytest.fixture
def complete(command, monkeypatch: pytest.MonkeyPatch):
    """`complete("status ")`: the words that bash offers at the end of the line."""

    def ask(line: str) -> list[str]:
        words = ["orchestrate", *line.split(" ")]
        monkeypatch.setenv("COMP_WORDS", " ".join(words))
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
        monkeypatch.setenv(VARIABLE, "complete_bash")
        result = command()
        assert (result.code, result.err) == (0, "")
        return result.out.split()

    return ask


def test_verbs_and_options(complete) -> None:
    assert {"status", "stop", "simulate", "schema", "serve"} <= set(complete("s"))
    assert complete("doctor --not") == ["--notify"]
    assert complete("completion z") == ["zsh"]


def test_studies_arms_and_seeds(complete, recorded: Path) -> None:
    assert complete("status ") == complete("report sm") == complete("retry ") == ["small"]
    assert complete("status other") == []
    assert complete("retry small no-") == ["no-batchnorm", "no-dropout"]
    assert complete("retry small baseline ") == ["0", "1"]
    assert complete("logs ") == ["baseline", "no-batchnorm", "no-dropout"]
    assert complete("logs --study small no-d") == ["no-dropout"]
    assert complete("logs --storage nowhere ") == []


@pytest.mark.parametrize("plan", ["{", "[]", '{"arms": 3, "cells": {}}', '{"arms": [{"arm": "$(rm x)"}, 3]}'])
def test_what_is_odd_is_left_out(complete, recorded: Path, plan: str) -> None:
    Path("runs/$(touch here)").mkdir()
    Path("runs/$(touch here)/plan.json").write_text("{}")
    (recorded / "plan.json").write_text(plan)
    assert complete("status ") == ["small"]
    assert complete("retry small ") == complete("retry small a ") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_is_one(command, tmp_path: Path, shell: str) -> None:
    result = command("completion", shell)
    assert result.code == 0
    assert VARIABLE in result.out
    if shutil.which(shell) is None:
        return  # there is none here to ask
    assert subprocess.run([shell, "-n"], input=result.out, text=True, check=False).returncode == 0


ASKED = {
    "bash": """\
source ./script
COMP_WORDS=(orchestrate logs no-b); COMP_CWORD=2
_orchestrate_completion orchestrate
echo ${COMPREPLY[@]}
""",
    "fish": """\
source ./script
complete --do-complete "orchestrate logs no-b"
""",
    # A terminal of its own, since zsh completes at a prompt alone; what it types is waited for.
    "zsh": """\
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "PROMPT=; autoload -Uz compinit; compinit -u -D; source ./script"
zpty -w -n shell $'orchestrate logs no-b\\t'
zpty -r shell typed '*no-batchnorm*'
echo no-batchnorm
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("shell", ASKED)
def test_a_shell_completes(
    command, recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: str
) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"there is no {shell}; on Debian and Ubuntu: apt install {shell}")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "script").write_text(command("completion", shell).out)
    (tmp_path / "orchestrate").write_text(f'#!/bin/sh\nexec {sys.executable} -m orchestrator "$@"\n')
    (tmp_path / "orchestrate").chmod(0o755)
    done = subprocess.run(
        [program, "-c", ASKED[shell]], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.stdout, done.stderr) == ("no-batchnorm\n", "")


def test_an_unknown_shell_is_bad_input(command) -> None:
    assert command("completion", "tcsh").code == 2
