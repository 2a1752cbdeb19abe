"""The program that runs on hosts, run on this one as it is sent: as text on stdin."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray

from orchestrator.errors import ClusterUnavailable, InputError
from orchestrator.remote import onhead, onhost
from orchestrator.remote.clusterfile import ClusterFile
from orchestrator.remote.sharedstorage import refuse_unshared, verdict
from orchestrator.remote.shipping import pack
from orchestrator.remote.ssh import MARK, Host, answers, launch
from orchestrator.remote.token import fingerprint, make_token
from orchestrator.study.entrypoint import EntrypointSource
from orchestrator.study.spec import StudySpec

Ask = Callable[..., Any]


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """`ask(verb, question, payload=b"")`, in a home of its own."""

    def ask(verb: str, question: dict[str, Any], payload: bytes = b"", program: str = "onhost") -> Any:
        command, text = launch(program, verb, question)
        folder = str(Path(sys.executable).parent)
        done = subprocess.run(
            ["bash", "-c", f"echo noise; {command}"],
            input=text + payload,
            capture_output=True,
            env={"PATH": f"{folder}:/usr/bin:/bin", "HOME": str(tmp_path)},
            check=True,
        )
        [answer] = answers("host", done.stdout.splitlines())
        return answer

    return ask


def test_facts_of_this_machine(ask: Ask, tmp_path: Path) -> None:
    make_token(tmp_path / ".ray/auth_token")
    facts = ask(
        "facts", {"packages": ["ray", "it's not there"], "storage": str(tmp_path / "new"), "program": "sh"}
    )
    assert facts["program"] == {"name": "sh", "path": shutil.which("sh", path="/usr/bin:/bin")}
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert facts["packages"] == {"ray": ray.__version__, "it's not there": None}
    assert facts["token"] == {
        "path": str(tmp_path / ".ray/auth_token"),
        "mode": 0o600,
        "fingerprint": fingerprint(tmp_path / ".ray/auth_token"),
    }
    assert facts["auth_mode"] is None
    assert facts["free"]["storage"] > 0
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_a_parcel_arrives_once(ask: Ask, tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "trial.py").write_text("x = 1")
    source = EntrypointSource("trial", "x", code, code / "trial.py")
    spec = StudySpec.model_validate(
        {
            "name": "s",
            "entrypoint": "trial:x",
            "metric": {"name": "loss", "mode": "min"},
            "baseline": {"level": 1},
            "seeds": 1,
            "stopping": {"max": 1},
        }
    )
    parcel = pack(spec, source, [code / "trial.py"], code)
    question = {"directory": parcel.directory, "digest": parcel.digest, "folder": "here"}
    first = ask("unpack", question, parcel.archive)
    assert first["new"]
    assert (Path(first["directory"]) / "trial.py").read_text() == "x = 1"
    assert (Path(first["directory"]) / "here").is_dir()
    assert ask("unpack", question, parcel.archive) == {**first, "new": False}
    with pytest.raises(ClusterUnavailable, match="arrived damaged"):
        ask("unpack", {**question, "directory": "~/other"}, parcel.archive[:-1])
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_markers_show_a_shared_directory_and_leave_nothing(ask: Ask, tmp_path: Path) -> None:
    storage = tmp_path / "shared/runs"
    question = {"storage": str(storage), "inspection": "1"}
    absent = ask("leave-marker", {**question, "host": "w", "may_create": False})
    assert "there is no directory" in absent["error"]
    first = ask("leave-marker", {**question, "host": "head", "may_create": True})
    second = ask("leave-marker", {**question, "host": "w", "may_create": False})
    assert set(second["seen"]) == {"head", "w"}
    seen = ask("take-markers", {**question, "made": first["made"]})["seen"]
    assert set(seen) == {"head", "w"}
    assert not (tmp_path / "shared").exists()


@pytest.mark.parametrize(
    ("answer", "seen", "words"),
    [
        ({"seen": ["head", "w"], "made": []}, ["head", "w"], None),
        ({"seen": ["w"], "made": []}, ["head"], "a file that head wrote there is not seen here"),
        ({"seen": ["head", "w"], "made": []}, ["head"], "written here is not seen on head"),
        ({"error": "read-only"}, [], "read-only"),
    ],
)
def test_what_the_markers_mean(answer: dict[str, Any], seen: list[str], words: str | None) -> None:
    found = verdict("w", "head", answer, seen, remote=False)
    assert found is None if words is None else words in str(found)


@pytest.mark.parametrize("overrides", [[], ["storage=~/x"]])
def test_unshared_storage_is_refused_with_its_line(tmp_path: Path, overrides: list[str]) -> None:
    study = tmp_path / "study.yaml"
    study.write_text("name: x\nstorage: runs\n")
    with pytest.raises(InputError) as caught:
        refuse_unshared("~/x" if overrides else "runs", study, overrides)
    [fault] = caught.value.faults
    assert (fault.file, fault.line) == (("command line", None) if overrides else (str(study), 2))


@pytest.fixture
def daemon() -> Any:
    """Something that looks like a Ray daemon of the cluster at 127.0.0.1:7001, with a child."""
    program = "import subprocess as s, sys; s.Popen(['sleep', '60']); print(flush=True); sys.stdin.read()"
    words = [sys.executable, "-c", program, "--gcs-address=127.0.0.1:7001"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


@pytest.mark.slow
def test_processes_of_this_cluster_are_ended_and_no_others(ask: Ask, daemon: Any) -> None:
    others = {"gcs": ["*:7002", "10.0.0.1:7001"], "grace_s": 1.0, "only": "", "orphans": False}
    mine = {**others, "gcs": ["localhost:7001"]}
    assert ask("stop", others) == {"ended": 0, "left": []}
    assert ask("stop", {**mine, "only": "autoscaler"})["ended"] == 0
    assert len(ask("processes", {**mine, "gcs": ["*:7001"]})) == 2
    ended = ask("stop", {**mine, "grace_s": 10.0})
    assert (ended["ended"], ended["left"]) == (2, [])
    assert daemon.wait(10) != 0


def test_only_the_files_of_a_report_are_fetched(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "s/figures").mkdir(parents=True)
    (tmp_path / "s/report.md").write_text("text")
    (tmp_path / "s/figures/forest.svg").write_text("picture")
    (tmp_path / "s/journal.jsonl").write_text("")
    found = ask("fetch", {"root": str(tmp_path / "s"), "names": ["report.md", "report.html"]})
    assert sorted(found) == ["figures/forest.svg", "report.md"]


def test_an_error_is_an_answer(ask: Ask) -> None:
    with pytest.raises(ClusterUnavailable, match=r"^host: FileNotFoundError"):
        ask("unpack", {"directory": "/proc/none/x"})


def test_studies_are_remembered_newest_first(ask: Ask, tmp_path: Path) -> None:
    assert ask("studies", {}, program="onhead") == []
    folder = tmp_path / ".orchestrate/studies"
    folder.mkdir(parents=True)
    for number, name in enumerate(["old", "new"]):
        (folder / f"{name}.json").write_text(json.dumps({"study": name, "submitted": number}))
    assert [entry["study"] for entry in ask("studies", {}, program="onhead")] == ["new", "old"]


def test_logs_are_followed_line_by_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert onhead._grown(log, 0) == ("", 0)
    log.write_text("one\ntwo\nthr")
    assert onhead._grown(log, 0) == ("one\ntwo\n", 8)
    assert onhead._grown(log, 8) == ("", 8)
    assert onhead._tail_start(log, 2) == 4


def test_the_marks_agree() -> None:
    assert onhost.MARK == onhead.MARK == MARK


def test_ssh_asks_nobody_and_uses_the_files_key(cluster: ClusterFile) -> None:
    words = Host("head", cluster.auth).ssh_words()
    assert words[-1] == "ubuntu@head"
    assert words[words.index("-i") + 1] == str(cluster.auth.private_key)
    assert {"BatchMode=yes", "IdentitiesOnly=yes", "StrictHostKeyChecking=accept-new"} <= set(words)
    jump = Host("head", replace(cluster.auth, proxy_command="ssh -W %h:%p gate"), keeps_key=False)
    assert {"ProxyCommand=ssh -W %h:%p gate", "StrictHostKeyChecking=no"} <= set(jump.ssh_words())


def test_a_token_is_made_once_and_kept_secret(tmp_path: Path) -> None:
    path = tmp_path / "folder/auth_token"
    assert make_token(path)
    token = path.read_text()
    assert (len(token), path.stat().st_mode & 0o777) == (64, 0o600)
    assert not make_token(path)
    assert path.read_text() == token
    assert fingerprint(path) == hashlib.sha256(token.encode()).hexdigest()[:16]
    path.chmod(0o644)
    with pytest.raises(InputError, match="others may read the token"):
        make_token(path)
    path.write_text("")
    path.chmod(0o600)
    with pytest.raises(InputError, match="the token is empty"):
        make_token(path)
