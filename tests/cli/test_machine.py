"""doctor and tensorboard: what they find and what they would start."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from orchestrator.api.machine import Machine
from orchestrator.api.recorded import open_study
from orchestrator.cli import doctor, tensorboard
from orchestrator.engine.sharing import Offer, StudyRegister, Want


def test_doctor_on_this_machine(command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    findings = {finding["name"]: finding for finding in command("doctor", "--json").document}
    assert findings["python"]["state"] == "ok"
    assert findings["ray"]["state"] == "ok"
    assert findings["torch"]["state"] == "ok"
    assert findings["storage"]["state"] == "ok"
    assert set(findings) >= {
        "processors",
        "memory",
        "shared mem",
        "temporary",
        "open files",
        "disk",
        "other ray",
    }
    assert list(tmp_path.iterdir()) == []


COMMAND = """\
name: script
entrypoint:
  command: {words} --lr {{lr}}
  metrics: {{file: logs/*.csv}}
metric: {{name: loss, mode: min}}
baseline: {{lr: 0.1}}
components: {{lr: {{without: {{lr: 0.2}}}}}}
seeds: 2
stopping: {{max: 4}}
"""


def test_what_is_said_of_a_command(command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text(COMMAND.format(words="sh -c true"))
    told = {
        "command": "sh -c true --lr 0.1",
        "program": f"sh: {shutil.which('sh')}",
        "metrics": "read from the file logs/*.csv, orchestrator.report",
    }
    result = command("validate", "--config", "study.yaml")
    assert result.code == 0
    assert [f"{name + ':':<10}{line}" for name, line in told.items()] == result.out.splitlines()[1:]
    findings = command("doctor", "--config", "study.yaml", "--json").document
    assert {one["name"]: one["detail"] for one in findings if one["name"] in told} == told
    (tmp_path / "study.yaml").write_text(COMMAND.format(words="env K=1 no-such-program"))
    (found,) = [
        one for one in command("doctor", "-c", "study.yaml", "--json").document if one["name"] == "program"
    ]
    assert found["state"] == "fail"
    assert found["detail"] == "no-such-program: not on this machine: every node of a cluster has to have it"


def test_doctor_fails_where_the_storage_cannot_be_written(command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = command("doctor", "--storage", tmp_path / "file" / "runs")
    assert result.code == 4
    line = next(line for line in result.out.splitlines() if " storage " in line)
    assert line.startswith("fail")


def test_doctor_names_versions_that_were_not_tested(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(doctor.TESTED, "torch", ("2.0.0",))
    found = next(finding for finding in doctor.examine(str(tmp_path)) if finding.name == "torch")
    assert (found.state, found.hint) == ("warn", "tested with 2.0.0")


def test_doctor_finds_what_keeps_ray_from_starting(
    command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_TMPDIR")
    monkeypatch.setenv("TMPDIR", "/tmp/" + "x" * 90)
    monkeypatch.setenv("HOME", "/dev/null")
    result = command("doctor")
    assert result.code == 4
    failed = [line.split()[1] for line in result.out.splitlines() if line.startswith("fail")]
    assert failed == ["temporary", "ray"]
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.7:6379")
    assert "RAY_ADDRESS=10.0.0.7:6379 is not used" in command("doctor").out
    monkeypatch.delenv("RAY_ADDRESS")
    result = command("doctor", "--address", "127.0.0.1:1")
    assert result.code == 4
    assert "no Ray cluster answers at 127.0.0.1:1" in result.out


def test_hidden_gpus_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert Machine.here().gpus == 0
    assert Machine.here().cpus >= 1


def test_tensorboard_listens_on_this_machine_only() -> None:
    words = tensorboard.serve_words("runs/small/trials", 6006)
    assert words[words.index("--host") + 1] == "127.0.0.1"
    assert words[words.index("--logdir") + 1] == "runs/small/trials"


def test_mirror_copies_new_event_files_only(recorded: Path, tmp_path: Path) -> None:
    run = open_study("small", "runs")
    trial = recorded / "trials/no-dropout/seed-0"
    (trial / "events.out.tfevents.1.host.a1.00001").write_bytes(b"one")
    assert tensorboard.mirror(run, tmp_path / "mirror") == 1
    (trial / "events.out.tfevents.1.host.a1.00002").write_bytes(b"two")
    assert tensorboard.mirror(run, tmp_path / "mirror") == 1
    assert tensorboard.mirror(run, tmp_path / "mirror") == 0
    copies = sorted(path.read_bytes() for path in (tmp_path / "mirror/no-dropout/seed-0").iterdir())
    assert copies == [b"one", b"two"], "the log is no event file"


def test_other_studies_on_this_machine_are_told(command, study: Path, recorded: Path) -> None:
    registry, offer = StudyRegister.here(), Offer(4, ("0", "1"))
    assert "none of yours runs" in command("doctor").out
    notes: list[str] = []
    mine = Want("small", str(recorded.absolute()), 1, 1, 1)
    with (
        registry.claimed(Want("other", "/elsewhere", 1, 0, 2), offer, notes.append),
        registry.claimed(mine, offer, notes.append),
    ):
        told = "other (process"
        assert f"{told} " in next(line for line in command("doctor").out.splitlines() if " studies " in line)
        plan = command("plan", "-c", study)
        assert "has 2 CPUs; this study gets what is left" in plan.out
        others = command("plan", "-c", study, "--json").document["others"]
        assert [one["study"] for one in others] == ["other"]
        status = command("status", recorded).out
        assert "this machine: small (process" in status
        assert "has 1 CPU and 1 GPU (0); beside it: other (process" in status
    assert "this machine" not in command("status", recorded).out


def test_doctor_sends_a_message_only_when_it_is_asked(command, study: Path) -> None:
    def said(*words: object) -> list[tuple[str, str]]:
        found = command("doctor", "-c", study, "--json", *words).document
        return [(one["state"], one["detail"]) for one in found if one["name"] == "notify"]

    assert said() == []
    assert said("--notify") == [("warn", "the study names nobody")]
    told = "notify: {command: [sh, -c, cat > told.json], webhook: '${NO_SUCH_HOOK}'}\n"
    study.write_text(study.read_text() + told)
    ((state, detail),) = said()
    assert state == "warn"
    assert detail.endswith("at end, failure, look (NO_SUCH_HOOK is not set here)")
    assert not Path("told.json").exists()
    hook, sent = said("--notify")
    assert hook == ("warn", "webhook ${NO_SUCH_HOOK}: NO_SUCH_HOOK is not set where the study is driven")
    assert sent == ("ok", "command sh -c cat > told.json: a test message was delivered")
    assert json.loads(Path("told.json").read_text())["event"] == "test"
    assert command("doctor", "--notify").code == 2
