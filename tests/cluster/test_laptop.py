"""The cluster from the laptop, as a user would: up, a study that survives the laptop, doctor, down.

One journey through the lab, in the order in which a user meets these commands; each test looks at a part.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cluster import TUNED, until
from lab import ENVIRONMENT, SHARED, Host, Lab

pytestmark = [pytest.mark.cluster, pytest.mark.long]

STUDY = """\
name: {name}
entrypoint: trial:train
metric: {{name: score, mode: max}}
baseline: {{lift: 1.0, epochs: {epochs}, hold: {hold}, broken: {broken}}}
components:
  lift: {{without: {{lift: 0.0}}}}
seeds: [0]
stopping: {{rule: none, max: {epochs}, unit: epoch}}
"""
COMMAND = """\
name: {program}
entrypoint: {{command: "{program} --lift {{lift}}"}}
metric: {{name: score, mode: max}}
baseline: {{lift: 1.0}}
components:
  lift: {{without: {{lift: 0.0}}}}
seeds: [0]
stopping: {{max: 1, unit: epoch}}
"""
EVERYWHERE, NOWHERE = "python3", "only-on-the-laptop"
TRIAL = """\
import time
from pathlib import Path
import ray.train

SIGNS = Path("{signs}")

def train(config):
    for epoch in range(1, config["epochs"] + 1):
        if epoch == 3 and config["hold"]:
            (SIGNS / "holding").touch()
            while not (SIGNS / "go").exists():
                time.sleep(0.05)
        if config["broken"]:
            raise ValueError("broken on purpose")
        print(f"epoch {{epoch}}")
        time.sleep(0.05)
        ray.train.report({{"epoch": epoch, "score": config["lift"] + epoch}})
"""
WORKERS = ("worker1", "worker2")
Done = subprocess.CompletedProcess


class Journey:
    """What every step of the journey said."""

    def __init__(self, lab: Lab, logs: Path) -> None:
        self.lab, self.logs = lab, logs
        lab.boot("laptop", "head", *WORKERS)
        self.laptop = lab["laptop"]
        self.cluster_file = lab.cluster_file("head", list(WORKERS), head_environment=TUNED)
        self.signs = lab.shared / "signs"
        self.signs.mkdir()
        self.code = self.laptop.home / "study"
        self.code.mkdir()
        (self.code / "trial.py").write_text(TRIAL.format(signs=SHARED / "signs"))
        self.write("steady", epochs=4, hold=True)
        self.write("endless", epochs=100_000)
        self.write("broken", epochs=2, broken=True)
        for program in (EVERYWHERE, NOWHERE):
            (self.code / f"{program}.yaml").write_text(COMMAND.format(program=program))
        here = self.laptop.home / ENVIRONMENT / "bin" / NOWHERE
        here.write_text("#!/bin/sh\n")
        here.chmod(0o755)
        self.said: dict[str, Done[str]] = {}

    def write(self, name: str, *, epochs: int, hold: bool = False, broken: bool = False) -> None:
        text = STUDY.format(name=name, epochs=epochs, hold=str(hold).lower(), broken=str(broken).lower())
        (self.code / f"{name}.yaml").write_text(text)

    def words(self, *words: str) -> str:
        return f"cd study; exec orchestrate {' '.join(words)} --cluster {self.cluster_file}"

    def step(self, name: str, *words: str) -> Done[str]:
        """Run a command on the laptop and keep what it said."""
        self.said[name] = self.laptop.attempt(self.words(*words))
        return self.said[name]

    def plain(self, name: str, command: str) -> Done[str]:
        self.said[name] = self.laptop.attempt(f"exec orchestrate {command} {self.cluster_file}")
        return self.said[name]

    def background(self, name: str, *words: str) -> Background:
        return Background(self, name, self.words(*words))

    def signal(self, number: str) -> None:
        """To the laptop's `orchestrate ablate`, in the laptop's own process namespace."""
        self.laptop.run(f"pkill -{number} -f bin/orchestrate.ablate")


class Background:
    """A command on the laptop whose output grows in a file."""

    def __init__(self, journey: Journey, name: str, command: str) -> None:
        self.journey, self.name, self.log = journey, name, journey.logs / f"{name}.log"
        self.process = journey.laptop.start(command, self.log)

    def shows(self, words: str) -> None:
        until(
            lambda: words in self.log.read_text() or self.process.poll() is not None, f"{self.name}: {words}"
        )
        assert words in self.log.read_text(), self.log.read_text()

    def end(self) -> None:
        code = self.process.wait(180)
        self.journey.said[self.name] = Done([], code, self.log.read_text(), "")


def daemons(host: Host) -> list[str]:
    """Ids of Ray's processes, to see that nobody restarted them."""
    return sorted(
        str(pid) for pid, args in host.processes().items() if "raylet/raylet" in args or "gcs_server" in args
    )


def travel(journey: Journey) -> None:
    lab, step = journey.lab, journey.step
    journey.plain("up", "up --wait 120")
    before = {name: daemons(lab[name]) for name in ("head", *WORKERS)}
    journey.plain("up again", "up --wait 60")
    journey.said["restarted"] = Done([], 0, json.dumps([before, {n: daemons(lab[n]) for n in before}]), "")
    step("sound", "doctor", "--json")
    for program in (EVERYWHERE, NOWHERE):
        step(program, "doctor", "--json", "--config", f"{program}.yaml")
    study_survives_the_laptop(journey)
    step("status", "status", "--json")
    step("logs", "logs", "baseline", "0", "--study", "steady.yaml")
    step("report", "report", "steady", "--json")
    step("broken", "ablate", "--config", "broken.yaml")
    study_is_stopped(journey)
    faults_are_planted(journey)
    lab["worker2"].power_off()
    until(lambda: journey.plain("host missing", "up --wait 0").returncode != 0, "the head misses worker2")
    lab["worker2"].revive()
    journey.plain("host back", "up --wait 120")
    journey.plain("down", "down")
    left = {
        name: [args for args in lab[name].processes("ray").values() if "pid1.py" not in args]
        for name in before
    }
    journey.said["left over"] = Done([], 0, json.dumps(left), "")
    step("sound and down", "doctor", "--json")
    step("status while down", "status", "steady", "--json")


def study_survives_the_laptop(journey: Journey) -> None:
    """The laptop's process is killed, leaves by Ctrl-C, loses its network; then the study may end."""
    steady = ("ablate", "--config", "steady.yaml")
    killed = journey.background("killed", *steady)
    until(lambda: (journey.signs / "holding").exists(), "the study runs")
    journey.signal("KILL")
    killed.end()
    journey.step("other settings", *steady, "baseline.epochs=5")
    journey.plain("down while a study runs", "down")
    left = journey.background("left", *steady)
    left.shows("is running already")
    left.shows("running")
    journey.signal("INT")
    left.end()
    last = journey.background("last", *steady)
    last.shows("is running already")
    journey.laptop.cut()
    last.shows("connecting again")
    journey.laptop.mend()
    (journey.signs / "go").touch()
    last.end()


def study_is_stopped(journey: Journey) -> None:
    endless = journey.background("stopped", "ablate", "--config", "endless.yaml")
    endless.shows("baseline seed 0: running")
    journey.step("stop", "stop", "endless")
    endless.end()


def faults_are_planted(journey: Journey) -> None:
    """A fault of each kind on the two workers; taken away again."""
    first, second = (journey.lab[name] for name in WORKERS)
    packages = next((first.home / ENVIRONMENT / "lib").glob("python*/site-packages")).relative_to(first.home)
    other = first.home / packages / "numpy-0.1.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Name: numpy\nVersion: 0.1\n")
    driver = first.home / ENVIRONMENT / "bin/nvidia-smi"
    driver.write_text("#!/bin/sh\necho GPU 0: A\necho GPU 1: B\n")
    driver.chmod(0o755)
    first.run("mv ~/.ray/auth_token ~/.ray/away; mount -t tmpfs none /srv/shared")
    clock = second.home / packages / "sitecustomize.py"
    clock.write_text("import time\nreal = time.time\ntime.time = lambda: real() - 60\n")
    second.run("chmod 644 ~/.ray/auth_token; mv ~/orchestrator/orchestrator ~/orchestrator/away")
    journey.step("planted", "doctor", "--json")
    journey.step("unshared", "ablate", "--config", "steady.yaml", f"storage={SHARED}/other")
    shutil.rmtree(other)
    driver.unlink()
    clock.unlink()
    first.run("mv ~/.ray/away ~/.ray/auth_token; umount /srv/shared")
    second.run("chmod 600 ~/.ray/auth_token; mv ~/orchestrator/away ~/orchestrator/orchestrator")


@pytest.fixture(scope="module")
def journey(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Journey:
    journey = Journey(lab, tmp_path_factory.mktemp("logs"))
    travel(journey)
    return journey


@pytest.fixture
def said(journey: Journey) -> Callable[[str], Done[str]]:
    return journey.said.__getitem__


def test_up_makes_a_token_and_counts_every_node(journey: Journey, said: Any) -> None:
    up = said("up")
    assert (up.returncode, up.stdout) == (0, "orchestrator: 3 of 3 nodes, 0 GPUs\n"), up
    assert "made the cluster's token" in up.stderr
    assert (journey.laptop.home / ".ray/auth_token").stat().st_mode & 0o777 == 0o600


def test_up_again_restarts_nothing(said: Any) -> None:
    assert said("up again").returncode == 0
    before, after = json.loads(said("restarted").stdout)
    assert before == after


def test_a_missing_host_is_named_with_what_ssh_says(said: Any) -> None:
    missing = said("host missing")
    assert missing.returncode == 4
    assert "2 of 3 nodes" in missing.stdout
    assert "missing: 10.77.0.12: not reachable by SSH: ssh: connect to host 10.77.0.12" in missing.stderr
    assert (said("host back").returncode, said("host back").stdout) == (
        0,
        "orchestrator: 3 of 3 nodes, 0 GPUs\n",
    )


def test_a_study_survives_a_killed_laptop(said: Any) -> None:
    """The last `ablate` follows the very job that the killed one had started, to its end."""
    job = next(word for word in said("killed").stdout.split() if word.startswith("orchestrate-steady-"))
    assert said("killed").returncode != 0
    assert job in said("last").stdout
    assert said("last").returncode == 0
    assert "attempt 2" not in said("last").stdout
    assert "no-lift" in said("last").stdout


def test_a_lost_connection_is_made_again(said: Any) -> None:
    assert "lost 10.77.0.10" in said("last").stdout


def test_ctrl_c_leaves_the_study_alone_and_says_how_to_go_on(said: Any) -> None:
    left = said("left")
    assert left.returncode == 130
    for words in (
        "the study goes on without this command",
        "follow:  orchestrate ablate",
        "stop:    orchestrate stop",
    ):
        assert words in left.stdout


def test_the_report_comes_to_the_laptop(journey: Journey, said: Any) -> None:
    fetched = journey.code / "reports/steady"
    assert {"report.html", "report.md", "effects.json", "results.parquet"} <= {
        path.name for path in fetched.iterdir()
    }
    assert json.loads(said("report").stdout)["study"] == "steady"
    assert said("report").returncode == 0


def test_status_and_logs_are_those_of_the_cluster(said: Any) -> None:
    status = json.loads(said("status").stdout)
    assert {cell["state"] for cell in status["cells"]} == {"done"}
    assert said("logs").stdout.splitlines() == [f"epoch {number}" for number in range(1, 5)]
    assert json.loads(said("status while down").stdout)["cells"] == status["cells"]


def test_while_a_study_runs_neither_other_settings_nor_down(said: Any) -> None:
    assert said("other settings").returncode == 4
    assert "is running on the cluster with other code or settings" in said("other settings").stderr
    assert said("down while a study runs").returncode == 4
    assert "orchestrate stop steady" in said("down while a study runs").stderr


def test_the_exit_code_is_that_of_the_study(said: Any) -> None:
    assert said("broken").returncode == 1
    assert "broken on purpose" in said("broken").stderr
    told = said("broken").stderr.splitlines()  # the first trial stops the study
    assert "--cluster" in next(line for line in told if line.startswith("mend it:"))


def test_stop_stops_cleanly(said: Any) -> None:
    assert said("stop").returncode == 0
    assert said("stopped").returncode == 130
    assert "cancelled" in said("stopped").stdout


def test_doctor_finds_nothing_on_a_sound_cluster(said: Any) -> None:
    for name in ("sound", "sound and down"):
        findings = json.loads(said(name).stdout)
        assert [finding for finding in findings if finding["state"] != "ok"] == []
        assert {finding["host"] for finding in findings} == {"10.77.0.10", "10.77.0.11", "10.77.0.12"}
        assert said(name).returncode == 0


def test_doctor_asks_every_host_for_the_program_of_a_study(said: Any) -> None:
    for program, state, code in ((EVERYWHERE, "ok", 0), (NOWHERE, "fail", 4)):
        found = {
            one["host"]: one["state"]
            for one in json.loads(said(program).stdout)
            if "host" in one and one["check"] == "program"
        }
        assert found == dict.fromkeys(("10.77.0.10", "10.77.0.11", "10.77.0.12"), state)
        assert said(program).returncode == code


def test_doctor_finds_every_planted_fault_and_no_other(said: Any) -> None:
    findings = json.loads(said("planted").stdout)
    wrong = {
        (finding["host"][-2:], finding["check"]): finding for finding in findings if finding["state"] != "ok"
    }
    assert set(wrong) == {
        *(("11", check) for check in ("numpy", "token", "storage", "gpus")),
        *(("12", check) for check in ("clock", "token", "orchestrator")),
    }
    assert {finding["state"] for finding in wrong.values()} == {"fail"}
    assert wrong["11", "token"]["detail"].startswith("missing")
    assert wrong["12", "token"]["detail"].startswith("others may read")
    off = float(wrong["12", "clock"]["detail"].split()[0])
    assert -60.5 < off < -50  # 60 s late, less the time that a busy host takes to answer
    assert said("planted").returncode == 4


def test_a_storage_that_is_not_shared_is_refused_before_anything_starts(said: Any) -> None:
    assert said("unshared").returncode == 4
    assert "10.77.0.11: there is no directory /srv/shared/other here" in said("unshared").stderr
    assert "started" not in said("unshared").stderr


def test_down_leaves_no_process_on_any_host(said: Any) -> None:
    down = said("down")
    assert (down.returncode, down.stdout) == (0, "orchestrator: down, no process left on 3 host(s)\n"), down
    assert json.loads(said("left over").stdout) == {"head": [], "worker1": [], "worker2": []}
