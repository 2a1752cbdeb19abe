"""Studies run by the real command, in processes of their own or in this one, and their record read back."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow.parquet as pq

from orchestrator.record.journal import read_journal
from orchestrator.record.layout import StudyPaths
from orchestrator.record.metrictable import read_metrics
from orchestrator.record.recorded import read_study
from orchestrator.record.storage import Storage
from orchestrator.reporting import write
from orchestrator.study.cells import Plan, make_plan, trial_config
from orchestrator.study.loading import LoadedStudy, load_study

REPOSITORY = Path(__file__).parents[2]
ENTRYPOINTS = Path(__file__).parent / "entrypoints"
RUN_LIMIT_S = 600.0
"""A run that takes longer is stuck. Far above what it takes on a busy machine."""
CONDITION_LIMIT_S = 120.0
_COMMAND = "import sys; from orchestrator.cli.app import main; sys.exit(main())"
# Drawing takes longer than most of these studies: they run as where the extra [report] is not installed.
NO_EXTRA = ("not_installed",)
_UNDRAWN = f"from orchestrator.reporting import write; write.EXTRA = {NO_EXTRA}; "
NO_METRICS = ("time_s", "attempt")

# A study of trials that take no time; append a name, seeds and what else is needed.
STUBBORN = """\
entrypoint: stubborn:train
metric: {name: loss, mode: min}
stopping: {rule: none, max: 3, unit: epoch}
baseline: {level: 1.0, broken: false, dir: '{dir}'}
components:
  level: {swap: {two: {level: 2.0}}}
"""


@dataclass(frozen=True)
class Finished:
    """How a run of the command ended."""

    code: int
    out: str
    err: str


class Running:
    """A run under way, in a process group of its own."""

    def __init__(self, command: str, words: list[str], cwd: Path, logs: Path) -> None:
        self._out, self._err = logs.with_suffix(".out"), logs.with_suffix(".err")
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-c", command, *words],
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"},
            )

    @property
    def err(self) -> str:
        return self._err.read_text()

    def until(self, condition: Callable[[], bool], what: str, limit_s: float = CONDITION_LIMIT_S) -> None:
        """Wait for the condition; fails when the command ends first, or never gets there."""
        deadline = time.monotonic() + limit_s
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {limit_s:g} s: {what}\n{self.err}")
            try:
                self.process.wait(timeout=0.05)
            except subprocess.TimeoutExpired:
                continue
            if not condition():
                raise AssertionError(
                    f"the command ended with {self.process.returncode} before: {what}\n{self.err}"
                )

    def signal(self, number: signal.Signals) -> None:
        """To the driver alone."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """`kill -9` of the driver; what it started has to find out by itself."""
        self.process.kill()
        self.process.wait()

    def end(self, limit_s: float = RUN_LIMIT_S) -> Finished:
        """Wait for the end of the run."""
        try:
            self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"still running after {limit_s:g} s\n{self.err}") from None
        return Finished(self.process.returncode, self._out.read_text(), self.err)


class Bench:
    """A code directory, a study file, and a storage of its own.

    `text` is the study file; `{dir}` in it stands for a directory where entrypoints and tests leave files for
    each other. Without an `entrypoint` to copy, the code directory is empty. `prelude` is Python that every
    driver runs first.
    """

    def __init__(self, root: Path, entrypoint: str | None, text: str, prelude: str = "") -> None:
        self._command = prelude + _UNDRAWN + _COMMAND
        self.code, self.storage_root, self.signs = root / "code", root / "storage", root / "signs"
        self._logs = root / "logs"
        for folder in (self.code, self.signs, self._logs):
            folder.mkdir(parents=True)
        if entrypoint is not None:
            shutil.copy(ENTRYPOINTS / f"{entrypoint}.py", self.code)
        self.module = self.code / f"{entrypoint}.py"
        self.file = self.code / "study.yaml"
        self.write(text)

    def write(self, text: str) -> None:
        """Another study file."""
        self.file.write_text(text.replace("{dir}", str(self.signs)))

    # ---- run ---------------------------------------------------------------------------------------------

    def start(self, *words: str) -> Running:
        """`orchestrate ablate --config study.yaml storage=... *words`, under way."""
        return self.command("ablate", "--config", str(self.file), f"storage={self.storage_root}", *words)

    def command(self, *words: str) -> Running:
        """Any verb."""
        number = len(list(self._logs.iterdir()))
        return Running(self._command, list(words), self.code, self._logs / f"{number:02}-{words[0]}")

    def run(self, *words: str) -> Finished:
        """`ablate` to its end."""
        return self.call("ablate", "--config", str(self.file), f"storage={self.storage_root}", *words)

    def call(self, *words: str) -> Finished:
        """Any verb to its end."""
        return self.command(*words).end()

    @contextmanager
    def running(self, *words: str) -> Iterator[Running]:
        """`ablate` under way; whatever happens inside, it does not outlive the block."""
        run = self.start(*words)
        try:
            yield run
        finally:
            if run.process.poll() is None:
                run.kill()

    # ---- read --------------------------------------------------------------------------------------------

    @cached_property
    def storage(self) -> Storage:
        return Storage.open(self.storage_root)

    def study(self, *overrides: str) -> LoadedStudy:
        return load_study(self.file, [f"storage={self.storage_root}", *overrides])

    @property
    def paths(self) -> StudyPaths:
        return StudyPaths.of(self.study().spec.name)

    def plan(self) -> Plan:
        return make_plan(self.study().spec)

    def config(self, arm: str, seed: int = 0) -> dict[str, Any]:
        """What the entrypoint sees."""
        spec, plan = self.study().spec, self.plan()
        cell = next(cell for cell in plan.cells if (cell.arm, cell.seed) == (arm, seed))
        return trial_config(plan, cell, spec)

    def events(
        self, kind: str | None = None, arm: str | None = None, seed: int | None = None
    ) -> list[dict[str, Any]]:
        """The journal; `arm` and `seed` choose the events of a cell."""
        found = [line.plain() for line in read_journal(self.storage, self.paths.journal).lines]
        if arm is not None:
            plan = self.plan()
            cells = {c.cell for c in plan.cells if c.arm == arm and (seed is None or c.seed == seed)}
            found = [event for event in found if event.get("cell") in cells]
        return [event for event in found if kind in (None, event["event"])]

    def results(self) -> dict[tuple[str, int], dict[str, Any]]:
        """`results.parquet` by arm and seed; every cell of the plan exactly once."""
        rows = pq.read_table(self.storage.local_path(self.paths.results_parquet)).to_pylist()
        found = {(row["arm"], row["seed"]): row for row in rows}
        assert len(found) == len(rows)
        recorded = read_study(self.storage, self.paths.root).plan
        assert [row["cell"] for row in rows] == [cell.cell for cell in recorded.cells]
        return found

    def rows(self, arm: str, seed: int = 0) -> list[dict[str, Any]]:
        """The rows of `metrics.parquet`, or of its forerunner when the trial has no answer."""
        return read_metrics(self.storage, self.paths.trial(arm, seed))

    def curve(self, arm: str, seed: int = 0) -> list[dict[str, Any]]:
        """The rows without what differs by nature."""
        return [
            {key: value for key, value in row.items() if key not in NO_METRICS}
            for row in self.rows(arm, seed)
        ]

    def length(self, arm: str, seed: int = 0) -> float:
        """How far a trial is, as the driver last said; its full length when it does not run."""
        cell = next(cell.cell for cell in self.plan().cells if (cell.arm, cell.seed) == (arm, seed))
        progress = read_study(self.storage, self.paths.root).progress() or {}
        return float(progress[cell]["length"] or 0) if cell in progress else float("inf")

    def trial_file(self, arm: str, seed: int, name: str) -> Path:
        return Path(self.storage.local_path(f"{self.paths.trial_dir(arm, seed)}/{name}"))


class SharedBench(Bench):
    """The same where processes are not the subject: the command runs in this one, on a Ray that is there.

    `start`, `command` and `running` still give processes, which start a Ray of their own.
    """

    def __init__(self, root: Path, entrypoint: str | None, text: str, address: str) -> None:
        super().__init__(root, entrypoint, text)
        self.address = address

    def call(self, *words: str) -> Finished:
        if (words[0] == "ablate" or "--pilot" in words) and "--address" not in words:
            words = (*words, "--address", self.address)
        with patch.object(write, "EXTRA", NO_EXTRA):
            return in_process(*words, cwd=self.code)


def in_process(*words: str, cwd: Path) -> Finished:
    """`orchestrate *words` in this process, in the directory `cwd`; puts the environment back."""
    from orchestrator.cli.app import main

    environment = dict(os.environ)
    out, err = io.StringIO(), io.StringIO()
    try:
        with chdir(cwd), redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings(), _limited():
            warnings.simplefilter("ignore")  # as in the command's own process, where the code is Ray's
            code = main(words)
    finally:
        os.environ.clear()
        os.environ.update(environment)
    return Finished(code, out.getvalue(), err.getvalue())


@contextmanager
def _limited() -> Iterator[None]:
    """Interrupt what takes longer than `RUN_LIMIT_S`: once so that it says where it was, then at once."""
    timers = [
        threading.Timer(limit_s, os.kill, (os.getpid(), signal.SIGINT))
        for limit_s in (RUN_LIMIT_S, RUN_LIMIT_S + 20)
    ]
    for timer in timers:
        timer.daemon = True
        timer.start()
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()


@contextmanager
def shared_head(cpus: float = 2) -> Iterator[str]:
    """A Ray on this machine, in a directory of its own; its address."""
    from orchestrator.engine.on_ray.cluster import ENVIRONMENT
    from orchestrator.engine.ray_private.head import EMBEDDED, LANE_ENVIRONMENT, embedded_ray

    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # Ray's sockets need a short path
    # Ray's workers step back behind everything else on the machine unless told otherwise
    own = {"PYTHONPATH": str(REPOSITORY), "WANDB_MODE": "offline", "RAY_worker_niceness": "0"}
    changed = {**ENVIRONMENT, **LANE_ENVIRONMENT, EMBEDDED: "1", **own}  # workers as those of an embedded Ray
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        with embedded_ray(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from ray.cluster_utils import Cluster

            arguments = {"num_cpus": cpus, "include_dashboard": False, "temp_dir": str(folder)}
            cluster = Cluster(initialize_head=True, head_node_args=arguments)
        try:
            yield cluster.address
        finally:
            cluster.shutdown()
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
        shutil.rmtree(folder, ignore_errors=True)
