"""A command as a trial, in threads of this process: reported, stopped, resumed, and nothing of it left."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from scene import Scene

from orchestrator.api.recorded import open_study
from orchestrator.engine.inprocess import DriverKilled, PlantedFault
from orchestrator.errors import ExitCode, StudyError
from orchestrator.record.checkpoints import CheckpointStore
from orchestrator.record.control import ask_to_stop
from orchestrator.record.metrictable import read_metrics
from orchestrator.record.scores import read_scores

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parent / "entrypoints" / "script.py"
LINE = "python script.py --level {level} --seed {seed} --epochs {max_length}"
RESUMED = {"command": LINE, "resume": "--resume {checkpoint}", "checkpoint": "out/epoch-*.json"}
LEVELS = {"baseline": 1.0, "level=high": 2.0, "level=low": 0.5}


class Commands(Scene):
    """A study of a command."""

    def __init__(self, root: Path, command: Any, **changes: Any) -> None:
        self.code_root = root / "code"
        self.code_root.mkdir(exist_ok=True)
        (self.code_root / "script.py").write_bytes(SCRIPT.read_bytes())
        entrypoint = command if isinstance(command, dict) else {"command": command}
        super().__init__(root / "runs", entrypoint=entrypoint, **changes)

    def go(self, *faults: PlantedFault, **options: Any) -> ExitCode:
        return self.run(*faults, function=None, code_root=self.code_root, **options)  # type: ignore[arg-type]

    def log(self, arm: str = "baseline", seed: int = 0, rank: int = 0) -> str:
        return Path(self.storage.local_path(self.paths.trial(arm, seed).log(rank))).read_text()

    def why(self, arm: str = "baseline", seed: int = 0) -> str:
        """Why a trial has failed."""
        (row,) = [row for row in self.cells() if (row["arm"], row["seed"]) == (arm, seed)]
        assert row["state"] == "failed"
        return str(row["reason"])


ONE = {"components": {"level": {"without": {"level": 2.0}}}, "seeds": 1}


def expected(level: float, seed: int, epochs: int = 3) -> list[tuple[int, float]]:
    state, curve = seed + 1.0, []
    for epoch in range(1, epochs + 1):
        state = (state * 1.7 + level * 0.31) % 1.0
        curve.append((epoch, level + state / (1 + epoch)))
    return curve


ALL = {(arm, seed): expected(level, seed) for arm, level in LEVELS.items() for seed in (0, 1)}


def processes(place: Path, but: int = 0) -> list[int]:
    """Processes that work below this directory, or have it in their command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (folder / "cmdline").read_bytes().decode(errors="replace")
            if str(place) in words or (folder / "cwd").readlink().is_relative_to(place):
                found.append(int(folder.name))
    return [pid for pid in found if pid not in (os.getpid(), but)]


def test_a_script_is_a_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the script lies in a directory below
    scene = Commands(tmp_path, LINE)
    assert scene.go(slots=2) is ExitCode.DONE
    assert scene.curves() == ALL
    lines = scene.log("level=high", 1).splitlines()
    assert lines[0] == "begins with epoch 1, rank None of None"
    said = [json.loads(line) for line in lines if line.startswith("{")]
    assert [(row["epoch"], row["loss"]) for row in said] == expected(2.0, 1)
    assert processes(tmp_path) == []


@pytest.mark.parametrize(
    ("first", "workers"),
    [
        ("save", 1),
        ("print", 2),
        pytest.param("save", 2, marks=pytest.mark.long),
        pytest.param("print", 1, marks=pytest.mark.long),
    ],
)
def test_a_lost_worker_goes_on_from_the_commands_own_checkpoint(
    tmp_path: Path, first: str, workers: int
) -> None:
    command = {**RESUMED, "command": f"{LINE} --first {first} --wait 0.6"}
    scene = Commands(tmp_path, command, resources={"workers": workers}, **ONE)
    assert scene.go(PlantedFault("worker killed", at=3, arm="no-level"), slots=2) is ExitCode.DONE
    assert scene.curves() == {("baseline", 0): expected(1.0, 0), ("no-level", 0): expected(2.0, 0)}
    assert scene.failures() == ["worker killed"]
    log = scene.log("no-level")
    assert "=== attempt 2" in log
    assert "begins with epoch 1," not in log.partition("=== attempt 2")[2]
    assert processes(tmp_path) == []


def test_a_killed_driver_loses_nothing(tmp_path: Path) -> None:
    scene = Commands(tmp_path, {**RESUMED, "command": f"{LINE} --wait 0.3"}, **ONE)
    with pytest.raises(DriverKilled):
        scene.go(PlantedFault("driver killed", at=2, arm="no-level"), slots=2)
    assert scene.go(slots=2) is ExitCode.DONE
    assert scene.curves() == {("baseline", 0): expected(1.0, 0), ("no-level", 0): expected(2.0, 0)}
    assert {row["state"] for row in scene.cells()} == {"done"}
    assert processes(tmp_path) == []


def test_a_command_that_is_killed_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    pause = tmp_path / "with a blank"
    pause.mkdir()
    command = {**RESUMED, "command": f"{LINE} --pause '{pause}'"}
    scene = Commands(tmp_path, command, **ONE)

    def kill() -> None:
        home = tmp_path / "runs"
        try:
            while not list(home.rglob("checkpoints/*.json")):  # its first checkpoint is in the record
                threading.Event().wait(0.01)
            (victim,) = [pid for pid in processes(home) if re.match(r"\S*python script\.py", _words(pid))]
            os.kill(victim, signal.SIGKILL)
        finally:  # else it would wait for ever
            for epoch in (1, 2, 3):
                (pause / f"go-{epoch}").touch()

    killer = threading.Thread(target=kill)
    killer.start()
    assert scene.go() is ExitCode.DONE
    killer.join()
    assert scene.curves()["baseline", 0] == expected(1.0, 0)
    assert scene.failures() == ["worker killed"]
    assert "was killed by SIGKILL" in str(scene.events("failure"))
    assert "begins with epoch 2," in scene.log()


def _words(pid: int) -> str:
    """Return the command line of a process, nothing of one that has just ended: git, asked beside this."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().replace("\0", " ")
    return ""


def test_checkpoints_are_kept_and_pruned_by_the_record(tmp_path: Path) -> None:
    keep = {"every": 1, "keep_latest": 1, "keep_best": 0, "at": [1]}
    scene = Commands(tmp_path, {**RESUMED, "command": f"{LINE} --wait 0.6"}, checkpoint=keep, **ONE)
    assert scene.go() is ExitCode.DONE
    store = CheckpointStore(scene.storage, scene.paths.trial("baseline", 0))
    kept = store.complete()
    assert [(one.length, list(one.files)) for one in kept] == [
        (1, ["out/epoch-1.json"]),
        (3, ["out/epoch-3.json"]),
    ]
    saved = json.loads((store.fetch(kept[-1].name, tmp_path / "got") / "out/epoch-3.json").read_text())
    assert saved["epoch"] == 3


def test_a_checkpoint_that_the_command_cannot_load_is_not_used_again(tmp_path: Path) -> None:
    command = {**RESUMED, "command": f"{LINE} --wait 0.6", "resume": "--resume /no/such/{checkpoint}"}
    scene = Commands(tmp_path, command, **ONE)
    assert scene.go(PlantedFault("worker killed", at=2, arm="baseline")) is ExitCode.DONE
    assert scene.curves()["baseline", 0] == expected(1.0, 0)
    assert scene.failures() == ["worker killed", "checkpoint"]
    assert "is not used again" in str(scene.events("failure"))


def test_asha_ends_a_command_with_all_that_it_has_started(tmp_path: Path) -> None:
    stopping = {"rule": "asha", "max": 3, "unit": "epoch", "grace": 1, "reduction": 2}
    line = f"{LINE} {{more}}"
    components = {"level": {"swap": {"high": {"level": 2.0, "more": ["--hold"]}}}}
    baseline = {"level": 1.0, "more": []}
    scene = Commands(tmp_path, line, baseline=baseline, components=components, stopping=stopping, seeds=1)
    assert scene.go() is ExitCode.DONE
    states = {row["arm"]: (row["state"], row["length"]) for row in scene.cells()}
    assert states == {"baseline": ("done", 3), "level=high": ("stopped", 1)}
    (decided,) = [e for e in scene.events("decision") if e["cell"] == scene.plan.cells[1].cell]
    (ended,) = [e for e in scene.events("end") if e["cell"] == scene.plan.cells[1].cell]
    assert ended["t"] - decided["t"] < 5
    assert processes(tmp_path) == []


def test_what_does_not_heed_sigterm_is_killed_after_its_grace(tmp_path: Path) -> None:
    say = 'echo {{\\"epoch\\": %d, \\"loss\\": {level}}}; '
    ignores = f"trap '' TERM; {say % 1}{say % 2}while :; do sleep 1000; done"
    command = {"command": ignores, "shell": True, "grace": 0.2}
    scene = Commands(tmp_path, command, stopping={"max": 1, "unit": "epoch"}, **ONE)
    assert scene.go() is ExitCode.DONE
    assert scene.curves() == {("baseline", 0): [(1, 1.0)], ("no-level", 0): [(1, 2.0)]}
    assert processes(tmp_path) == []


def stop_when(scene: Commands, ready: Callable[[], object]) -> threading.Thread:
    """`orchestrate stop` from elsewhere, as soon as something is there (or half a minute has passed)."""

    def ask() -> None:
        for _ in range(3000):
            if ready():
                break
            threading.Event().wait(0.01)
        ask_to_stop(scene.storage, scene.paths, "somebody")

    asking = threading.Thread(target=ask)
    asking.start()
    return asking


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_stop_ends_a_command_that_reports_nothing_more(tmp_path: Path, workers: int) -> None:
    command = {**RESUMED, "command": f"{LINE} --pause '{tmp_path}'", "grace": 0.2}
    changes = {**ONE, "failures": {"report_timeout": 600}, "resources": {"workers": workers}}
    scene = Commands(tmp_path, command, **changes)
    asking = stop_when(scene, lambda: list((tmp_path / "runs").rglob("checkpoints/*.json")))
    assert scene.go() is ExitCode.INTERRUPTED
    asking.join()
    assert [row["state"] for row in scene.cells()] == ["cancelled", "pending"]
    assert scene.failures() == []
    assert processes(tmp_path) == []
    for epoch in (1, 2, 3):
        (tmp_path / f"go-{epoch}").touch()
    assert scene.go() is ExitCode.DONE
    assert scene.curves() == {("baseline", 0): expected(1.0, 0), ("no-level", 0): expected(2.0, 0)}
    assert "begins with epoch 2," in scene.log()


def test_what_a_stopped_command_says_at_sigterm_counts(tmp_path: Path) -> None:
    line = (
        """trap 'echo "{{\\"epoch\\": 2, \\"loss\\": 0.5}}"; exit 1' TERM; """
        """echo "{{\\"epoch\\": 1, \\"loss\\": 1}}"; while :; do sleep 0.05; done"""
    )
    scene = Commands(tmp_path, {"command": line, "shell": True, "grace": 0.2}, **ONE)
    asking = stop_when(scene, lambda: scene.events("start"))
    assert scene.go() is ExitCode.INTERRUPTED
    asking.join()
    assert scene.curves()["baseline", 0] == [(1, 1.0), (2, 0.5)]
    assert processes(tmp_path) == []


BETWEEN = """
from=$(cat "$ORCHESTRATOR_CHECKPOINT" 2>/dev/null)
[ -z "$from" ] || echo "from $from"
for epoch in 1 2 3; do
  echo "{{\\"epoch\\": $epoch, \\"loss\\": 1}}"
  if [ {level} = 1.0 ] && [ -z "$from" ]; then
    mkdir out; echo middle > out/m.ckpt; touch -d '1 minute ago' out/m.ckpt
    echo $$ > SIGN.part; mv SIGN.part SIGN
    while :; do sleep 0.05; done
  fi
done
"""
AT_SIGTERM = "trap 'echo end > out/m.ckpt; exit 1' TERM"


@pytest.mark.parametrize(
    ("trap", "how", "goes_on"), [("", "stop", "middle"), (AT_SIGTERM, "stop", "end"), ("", "kill", "middle")]
)
def test_what_was_saved_since_the_last_report_is_kept_at_a_forced_end(
    tmp_path: Path, trap: str, how: str, goes_on: str
) -> None:
    sign = tmp_path / "sign"
    line = trap + BETWEEN.replace("SIGN", str(sign))
    command = {"command": line, "shell": True, "grace": 0.2, "checkpoint": "out/*.ckpt"}
    scene = Commands(tmp_path, command, **ONE)
    if how == "stop":
        asking = stop_when(scene, sign.exists)
        assert scene.go() is ExitCode.INTERRUPTED
        asking.join()
    else:
        killing = threading.Thread(target=_kill_when, args=[sign])
        killing.start()
    assert scene.go() is ExitCode.DONE
    assert f"from {goes_on}" in scene.log()
    assert scene.curves()["baseline", 0] == [(1, 1.0), (2, 1.0), (3, 1.0)]
    assert [row["state"] for row in scene.cells()] == ["done", "done"]


def _kill_when(sign: Path) -> None:
    while not sign.exists():
        threading.Event().wait(0.01)
    os.kill(int(sign.read_text()), signal.SIGKILL)


MODES = """\
case $1 in
  argument) exec python script.py --level 1 --seed 0 --lr 3;;
  exception) exec python -c 'raise KeyError(1)';;
  silent) exit 1;;
  metric) echo 1;;
  short) echo '{"epoch": 1, "loss": 1}'; echo '{"epoch": 2, "loss": 1}';;
  unit) echo '{"loss": 1}';;
  memory) echo 'torch.OutOfMemoryError: CUDA out of memory' >&2; exit 1;;
  gone) nosuch;;
  *) for epoch in 1 2 3; do echo "{\\"epoch\\": $epoch, \\"loss\\": 1}"; done;;
esac
"""
SAID = {
    "argument": "the command ended with exit code 2: script.py: error: unrecognized arguments: --lr 3",
    "exception": "the command ended with exit code 1: KeyError: 1",
    "silent": "the command ended with exit code 1; it printed nothing",
    "metric": "the command never gave 'loss'",
    "short": "the command ended at 2 of 3 epochs, with exit code 0",
    "unit": "'epoch'",
    "memory": "CUDA out of memory",
    "gone": "exit code 127",
}


def test_how_it_failed_is_said(tmp_path: Path) -> None:
    modes = {mode: {"mode": mode} for mode in SAID}
    changes = {"baseline": {"mode": "fine"}, "components": {"mode": {"swap": modes}}, "seeds": 1}
    scene = Commands(tmp_path, "sh modes.sh {mode}", **changes)
    (scene.code_root / "modes.sh").write_text(MODES)
    assert scene.go(slots=2) is ExitCode.FAILED
    for mode, said in SAID.items():
        assert said in scene.why(f"mode={mode}"), mode
    assert scene.curves()["baseline", 0] == [(1, 1), (2, 1), (3, 1)]
    assert processes(tmp_path) == []


def test_values_as_variables_and_the_config_as_a_file(tmp_path: Path) -> None:
    program = (
        "import json, os; c = json.load(open(os.environ['ORCHESTRATOR_CONFIG']));"
        "assert os.getcwd() == os.environ['ORCHESTRATOR_TRIAL_DIR'], os.getcwd();"
        "assert c == {'level': float(os.environ['LEVEL']), 'seed': int(os.environ['SEED']), 'max_length': 3};"
        "[print(json.dumps({'epoch': e, 'loss': c['level']})) for e in (1, 2, 3)]"
    )
    words = ["python", "-c", program.replace("{", "{{").replace("}", "}}")]
    scene = Commands(tmp_path, {"command": words, "arguments": "env"}, **ONE)
    assert scene.go() is ExitCode.DONE, scene.log()
    assert scene.curves()["no-level", 0] == [(1, 2.0), (2, 2.0), (3, 2.0)]


def test_every_rank_has_torchruns_variables(tmp_path: Path) -> None:
    names = [
        "RANK",
        "LOCAL_RANK",
        "WORLD_SIZE",
        "LOCAL_WORLD_SIZE",
        "NODE_RANK",
        "MASTER_ADDR",
        "MASTER_PORT",
    ]
    shown = "; ".join(f"echo {name}=${name}" for name in names)
    command = {"command": f"{shown}; {LINE}", "shell": True}
    scene = Commands(tmp_path, command, resources={"workers": 2}, **ONE)
    assert scene.go() is ExitCode.DONE
    assert scene.curves()["baseline", 0] == expected(1.0, 0)
    seen = [
        dict(line.split("=") for line in scene.log(rank=rank).splitlines()[: len(names)]) for rank in (0, 1)
    ]
    assert [one.pop("RANK") for one in seen] == ["0", "1"]
    assert [one.pop("LOCAL_RANK") for one in seen] == ["0", "1"]
    assert seen[0] == seen[1]
    assert seen[0].pop("MASTER_PORT").isdigit()
    assert seen[0] == {
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "NODE_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
    }


# ---- first reports --------------------------------------------------------------------------------------

WRITES = """\
import json, sys, time
out, key, lines = sys.argv[1], sys.argv[2], int(sys.argv[3])
with open(out, "w") as file:
    for epoch in range(1, lines + 1):
        print(json.dumps({"epoch": epoch, key: 1 / epoch}), file=file, flush=True)
if lines > 3:
    time.sleep(600)
"""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("none.txt loss 3", "Looked at the file logs/history.jsonl, orchestrator.report; nothing was found"),
        (
            "history.jsonl loss 3",
            "the command writes history.jsonl, which has 'loss'; set metrics: {file: his",
        ),
        (
            "history.jsonl loss 9",
            "the file logs/history.jsonl is not there; the command writes history.jsonl",
        ),
    ],
)
def test_metrics_from_a_file_that_is_never_written(tmp_path: Path, words: str, said: str) -> None:
    stops = {"failures": {"max_retries": 2, "report_timeout": 5}}
    command = {"command": f"python writes.py {words}", "metrics": {"file": "logs/history.jsonl"}}
    scene = Commands(tmp_path, command, seeds=5, **stops)
    (scene.code_root / "writes.py").write_text(WRITES)
    with pytest.raises(StudyError) as refused:
        scene.go()
    assert refused.value.exit_code is ExitCode.BAD_INPUT
    assert said in str(refused.value)
    assert len(scene.events("assign")) == 1


def test_a_printed_metric_of_another_name_ends_a_command_that_goes_on(tmp_path: Path) -> None:
    stops = {"failures": {"max_retries": 2, "report_timeout": 5}}
    scene = Commands(tmp_path, "python writes.py /dev/stdout Loss 9", seeds=5, **stops)
    (scene.code_root / "writes.py").write_text(WRITES)
    with pytest.raises(StudyError, match="the command gives 'Loss', and never 'loss'"):
        scene.go()
    assert len(scene.events("assign")) == 1


SCORES = """
import json, sys, orchestrator
level, seed = float(sys.argv[1]), int(sys.argv[2])
for epoch in range(1, 4):
    scores = [level + j / 50 + (int(10 * level) * (j + epoch) * (seed + 1) % 7) / 1000 for j in range(40)]
    if epoch == 3:
        orchestrator.report_scores([f"image-{j}" for j in range(40)], scores)
    print(json.dumps({"epoch": epoch, "loss": sum(scores) / 40}), flush=True)
"""


def test_scores_of_a_command_give_the_interval_for_new_data(tmp_path: Path) -> None:
    scene = Commands(tmp_path, "python scores.py {level} {seed}", **ONE | {"seeds": 2})
    (scene.code_root / "scores.py").write_text(SCORES)
    assert scene.go() == ExitCode.DONE
    trial = scene.paths.trial("baseline", 1)
    found = read_scores(scene.storage, trial)
    assert found is not None
    assert found.ids[:2].tolist() == ["image-0", "image-1"]
    assert found.mean == pytest.approx(read_metrics(scene.storage, trial)[-1]["loss"])
    report = open_study(scene.spec.name, tmp_path / "runs").report(curves=False)
    assert {name: one.samples for name, one in report.first.new_data.items()} == {"no-level": 40}
    assert not any("new data" in note for note in report.notes)


def test_scores_that_are_wrong_fail_the_command_by_name(tmp_path: Path) -> None:
    scene = Commands(tmp_path, "python scores.py {level} {seed}", **ONE)
    (scene.code_root / "scores.py").write_text(SCORES.replace('f"image-{j}"', '"image"'))
    with suppress(StudyError):
        scene.go()
    assert "orchestrator.report_scores: 39 ids are there more than once, such as 'image'" in scene.why()


def test_a_command_that_writes_nothing_readable_is_told_of_while_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.engine.command.runner.QUIET_S", 0.0)
    line = ["sh", "-c", "echo 'Epoch 1 loss: 0.5'; sleep 1000"]
    stops = {"failures": {"report_timeout": 600}}
    scene = Commands(tmp_path, {"command": line, "grace": 0.2}, seeds=5, **stops)

    def told() -> list[str]:
        return [e["text"] for e in scene.events("note") if "nothing is reported" in e["text"]]

    asking = stop_when(scene, told)
    assert scene.go() is ExitCode.INTERRUPTED
    asking.join()
    (note,) = told()
    said = r"metrics: {pattern: ['\bloss[\s:=]+(?P<loss>[-+.\w]+)', '\bEpoch[\s:=]+(?P<epoch>[-+.\w]+)']}"
    assert said in note
    assert f"[orchestrator] {note.partition(': ')[2]}" in scene.log()
