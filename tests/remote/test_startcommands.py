"""The environment of a host is read from the commands that start Ray there."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.remote.startcommands import in_login_shell, ray_start, split_commands

VENV = (
    "export RAY_AUTH_MODE=token A='x; y'; . ~/env/bin/activate; ulimit -n 65536; ray start --head --port=6380"
)


def test_what_stands_in_front_of_ray_start_is_its_environment() -> None:
    found = ray_start([". ~/env/bin/activate; ray stop", VENV])
    assert found is not None
    assert found.environment == "export RAY_AUTH_MODE=token A='x; y'; . ~/env/bin/activate; ulimit -n 65536"
    assert (found.port, found.dashboard_port) == (6380, 8265)


@pytest.mark.parametrize(
    ("command", "environment"),
    [
        ("ray start --head", ""),
        ("ray stop && ray start --head", ""),
        ("RAY_AUTH_MODE=token A=2 ray start --head", "export RAY_AUTH_MODE=token; export A=2"),
        ("exec ~/env/bin/ray start --head", "export PATH=~/env/bin:$PATH"),
        ("conda activate study && ray start --num-gpus=$(nvidia-smi -L | wc -l)", "conda activate study"),
        ("source /opt/env.sh\nnvidia-smi > /dev/null || true\nray start --head", "source /opt/env.sh"),
    ],
)  # fmt: skip
def test_forms_of_start_commands(command: str, environment: str) -> None:
    found = ray_start([command])
    assert found is not None
    assert found.environment == environment


@pytest.mark.parametrize("commands", [[], ["ray stop"], ["echo ray start"], ["ray status; A=1"], ["A=1"]])
def test_no_ray_start(commands: list[str]) -> None:
    assert ray_start(commands) is None


@pytest.mark.parametrize(
    ("option", "private"),
    [
        ("", True),
        ("--dashboard-host=127.0.0.1", True),
        ("--dashboard-host '127.0.0.1'", True),
        ("--dashboard-host=0.0.0.0", False),
        ("--node-ip-address=127.0.0.1 --dashboard-host 10.0.0.1", False),
    ],
)
def test_a_dashboard_beyond_loopback_is_seen(option: str, private: bool) -> None:
    found = ray_start([f"ray start --head {option}"])
    assert found is not None
    assert found.dashboard_is_private is private


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)))
def test_quoted_text_is_never_split(words: list[str]) -> None:
    assert split_commands(f"export A {shlex.join(words)}; ray start") == [
        f"export A {shlex.join(words)}".strip(),
        "ray start",
    ]


def test_a_login_shell_shows_only_what_the_command_says(tmp_path: Path) -> None:
    (tmp_path / ".bashrc").write_text("echo hello; export FROM_RC=1; echo rc >&2\n")
    (tmp_path / ".profile").write_text("echo welcome\n")
    text = in_login_shell('echo "$FROM_RC $FROM_FILE it\'s"; echo told >&2; exit 3', "export FROM_FILE=2")
    done = subprocess.run(
        ["sh", "-c", text],
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "1 2 it's\n", "told\n")
