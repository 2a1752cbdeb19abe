"""--cluster: what is refused before any host is asked. The rest is in tests/cluster/test_laptop.py."""

from __future__ import annotations

from pathlib import Path

import pytest

CLUSTER = """\
cluster_name: nowhere
provider: {type: local, head_ip: 192.0.2.1, worker_ips: [192.0.2.2]}
auth: {ssh_user: nobody}
"""


@pytest.fixture(autouse=True)
def no_ssh(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster file beside the study, and no `ssh` on the path."""
    Path("cluster.yaml").write_text(CLUSTER)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("HOME", str(Path.cwd()))


def test_a_relative_storage_is_refused_before_anything_starts(command, study: Path) -> None:
    result = command("ablate", "--config", study, "--cluster", "cluster.yaml")
    assert result.code == 2
    [fault] = result.faults
    assert "storage: a relative path is another place on each node" in fault
    assert not Path("runs").exists()


def test_every_fault_of_the_cluster_file_with_its_line(command, study: Path) -> None:
    Path("cluster.yaml").write_text(CLUSTER.replace("[192.0.2.2]", "[192.0.2.1]").replace("auth", "aut"))
    result = command("ablate", "--config", study, "storage=/srv/x", "--cluster", "cluster.yaml")
    assert result.code == 2
    assert result.faults == ["error: cluster.yaml:3: aut: there is no such setting; did you mean auth?"]


@pytest.mark.parametrize(
    ("words", "fault"),
    [(["--detach"], "--detach"), (["--cluster", "cluster.yaml", "--address", "h:1"], "one of the two")],
)
def test_options_that_do_not_go_together(command, study: Path, words: list[str], fault: str) -> None:
    result = command("ablate", "--config", study, *words)
    assert result.code == 2
    assert fault in result.err


@pytest.mark.parametrize(
    "words",
    [
        ["status"],
        ["stop", "study.yaml"],
        ["report", "small", "--json"],
        ["logs", "baseline", "0"],
    ],
)
def test_a_head_that_does_not_answer_is_exit_code_4(command, words: list[str]) -> None:
    result = command(*words, "--cluster", "cluster.yaml")
    assert result.code == 4
    assert "192.0.2.1 cannot be reached by SSH" in result.err


def test_doctor_says_which_hosts_do_not_answer(command) -> None:
    result = command("doctor", "--cluster", "cluster.yaml", "--json")
    assert result.code == 4
    assert [(finding["host"], finding["check"], finding["state"]) for finding in result.document] == [
        ("192.0.2.1", "ssh", "fail"),
        ("192.0.2.2", "ssh", "fail"),
    ]
