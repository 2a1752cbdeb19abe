"""One run of a study: plan what is refused, start Ray, let Tune run the trials, close the record."""

from __future__ import annotations

import importlib
import logging
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from orchestrator.decide.agenda import agenda, depends_on_results
from orchestrator.decide.states import TrialState
from orchestrator.engine import checks, gateway
from orchestrator.engine.capacity import DATASETS_CPUS
from orchestrator.engine.messages import RunFacts
from orchestrator.engine.pump import conclude
from orchestrator.engine.running import (
    Audience,
    Beside,
    Listener,
    RunnableStudy,
    RunOptions,
    StudyOutcome,
    alone,
)
from orchestrator.engine.sharing import wanted
from orchestrator.errors import ClusterUnavailable, ExitCode
from orchestrator.record.codeidentity import PackedCode
from orchestrator.record.lease import outlast
from orchestrator.record.patience import told_to
from orchestrator.record.provenance import collect_env, study_file, this_user
from orchestrator.record.recorded import RecordedStudy, read_environment, read_record
from orchestrator.record.results import results_table, write_results
from orchestrator.record.spans import entered
from orchestrator.record.state import StudyState
from orchestrator.record.studyrecord import Start, StudyRecord, reconcile
from orchestrator.training.gates.results import CheckRequest

LEAVING = (
    "running trials leave at their next report, commands soon also without one; a second signal ends them at "
    "once; the same command resumes"
)
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_study(
    study: RunnableStudy, options: RunOptions, listener: Listener, beside: Beside = alone
) -> StudyOutcome:
    """Run what is left of a study and keep its record. What can be refused is refused before Ray is started.

    In the main thread SIGINT, SIGTERM and SIGHUP are handled while it runs: the first lets running trials
    leave at their next report, the second ends everything at once.

    Raises:
        OrchestratorError: bad input, a study that is held by another driver, no cluster. Nothing was
            started or written in the first two cases.
    """
    with Audience(listener) as audience:
        return _Driver(study, options, audience, beside).run()


@dataclass(frozen=True)
class _Ahead:
    """What was begun before it is needed: user code in a process of its own, and the import of Ray."""

    probe: checks.Preflight
    ray: threading.Thread


class _Driver:
    """The run in its parts; one object per run."""

    def __init__(self, study: RunnableStudy, options: RunOptions, listener: Listener, beside: Beside) -> None:
        self.study, self.options, self.listener, self.beside = study, options, listener, beside
        self.spec, self.storage, self.paths = study.spec, study.storage, study.paths
        self.trace = options.trace

    def run(self) -> StudyOutcome:
        with self.trace.span("read the record"):
            found = None if self.options.fresh else read_record(self.storage, self.paths)
        with ExitStack() as stack:
            ahead = None if found else stack.enter_context(self._ahead(None))
            with self.trace.span("pack the code"):
                code = PackedCode.of(self.study.entrypoint, self.spec)
            start = self._start(code)
            reconcile(found, self.spec, self.study.plan, start)
            if outlast(self.storage, self.paths, self.listener.note) and found is not None:
                found = found.again()
            if found is not None:
                state = found.state_of(self.study.plan)
                if self._nothing_left(state):
                    return self._answered_already(state)
            return self._run(ahead or stack.enter_context(self._ahead(code)), code, start, found)

    def _start(self, code: PackedCode) -> Start:
        options = self.options
        return Start(
            code.hash,
            code.archive,
            fresh=options.fresh,
            extend=options.extend,
            accept_code_change=options.accept_code_change,
            retry_failed=options.retry_failed,
        )

    # ---- before Ray --------------------------------------------------------------------------------------

    def _nothing_left(self, state: StudyState) -> bool:
        """Whether every cell is answered, or failed for its own reasons, and the results call for no more."""
        if self.options.again or (self.options.retry_failed and state.remaining(retry_failed=True)):
            return False
        left = agenda(self.spec, state.plan, state.cells, state.families)
        return left.complete and not any(cell in left.skip for cell in state.remaining())

    def _answered_already(self, state: StudyState) -> StudyOutcome:
        """Nothing is left to run: only the tables are written, in case they are missing."""
        self.listener.note("nothing is left to run: every trial has ended")
        write_results(self.storage, self.paths, results_table(self.spec, state))
        states = [record.state for record in state.cells.values()]
        failed = any(not state.answered for state in states)
        return StudyOutcome(
            exit_code=ExitCode.FAILED if failed else ExitCode.DONE,
            root=self.storage.path(self.paths.root),
            counts={str(state): states.count(state) for state in TrialState},
        )

    def _look_at_ray(self) -> None:
        """Refuse what cannot work before user code is imported, which takes longer."""
        address, ray = self.options.address, sys.modules.get("ray")
        if ray is not None and ray.is_initialized():
            return
        if (unused := gateway.ray_address_unused(address)) is not None:
            self.listener.note(unused)
        if address is not None:
            gateway.refuse_strangers(address)
            return
        gateway.refuse_obstacles()
        before = None if self.options.fresh else read_environment(self.storage, self.paths).address
        if (told := gateway.elsewhere_before(before)) is not None:
            self.listener.note(told)

    @contextmanager
    def _ahead(self, recorded: PackedCode | None) -> Iterator[_Ahead]:
        """Begin what takes long: Ray's import, and the wanted gates or the import of user code.

        `recorded`: today's code, where gates may have been asked about it before; None for a new study.
        """
        self._look_at_ray()
        ray = threading.Thread(target=self._import_ray, name="import of Ray", daemon=True)
        ray.start()
        probe = self._probe(recorded)
        try:
            yield _Ahead(probe, ray)
        finally:
            probe.end()

    def _import_ray(self) -> None:
        with self.trace.span("import Ray"):
            _import_quietly("ray.tune")

    def _probe(self, recorded: PackedCode | None) -> checks.Preflight:
        request, spec = self.options.check, self.spec
        if request is not None and not self.options.no_check:
            known = None if recorded is None else checks.remembered(self.storage, self.paths)
            if recorded is None or known != checks.fingerprint(request, recorded.hash):
                return checks.Preflight(request, threads=max(1, int(spec.resources.cpus_per_worker)))
        root = str(self.study.entrypoint.root)
        alone = CheckRequest(spec.code, root, 0, (), (), datamodule=spec.datamodule)
        return checks.Preflight(alone, "import")

    # ---- on Ray ------------------------------------------------------------------------------------------

    def _run(
        self, ahead: _Ahead, code: PackedCode, start: Start, recorded: RecordedStudy | None
    ) -> StudyOutcome:
        whose = {"by": this_user(), "study_file": study_file(self.study.source)}
        env = {
            **collect_env(code.root or Path.cwd()),
            "address": self.options.address,
            "on_ray": True,
            **whose,
        }
        start = replace(start, env=env)
        with self.trace.span("wait for the check of the code"):
            ahead.probe.result()
        with self.trace.span("wait for the import of Ray"):
            ahead.ray.join()
        from orchestrator.engine.on_ray import cluster

        want = partial(
            wanted, self.spec, self.storage.path(self.paths.root), cells=self._cells_left(recorded)
        )
        connected = cluster.connected(self.options.address, want, self.listener.note)
        with entered(self.trace, connected, "start Ray", "leave Ray") as machine:
            if machine is None:
                asked = self.options.address
                of = "this process" if asked is None else f"--address {asked}"
                self.listener.note(f"Ray: the cluster at {cluster.connected_to(asked)} (of {of})")
            gpus = cluster.gpus_per_worker(self.spec.resources)
            if machine is not None:
                self._check_capacity(gpus)
            found = self._heed(ahead.probe, gpus)
            with self.trace.span("open the record"):
                record = StudyRecord.open(
                    self.storage, self.spec, self.study.plan, start, found=recorded, trace=self.trace
                )
            self.trace.keep_in(self.storage, self.paths.spans(record.lease.driver), self.listener.note)
            try:
                self._keep(found, code)
                with told_to(self.listener.note), self.beside(record, self.listener.note):
                    return self._conduct(record, code, gpus, machine)
            finally:
                record.close()

    def _cells_left(self, recorded: RecordedStudy | None) -> int | None:
        """How many cells are left to run; None where results may call for more."""
        if self.options.again:
            return len(self.options.again)
        if depends_on_results(self.spec):
            return None
        state = recorded.state_of(self.study.plan) if recorded else StudyState(self.study.plan)
        return len(state.remaining(self.options.retry_failed))

    def _check_capacity(self, gpus: float) -> None:
        """On one machine, a group that can never fit is found before the study is created.

        A cluster may still grow, or get its nodes back: there the study waits and says what for.
        """
        from orchestrator.engine.capacity import capacity, group_in_words, waits_for
        from orchestrator.engine.on_ray import cluster

        resources = self.spec.resources
        offered = capacity(cluster.nodes(self._kept_cpus()), resources, gpus)
        if waits_for(resources, gpus, offered) is not None:
            kept = " (one CPU of each node is kept for `datasets`)" if self.spec.datasets else ""
            raise ClusterUnavailable(
                f"one worker group needs {group_in_words(resources, gpus)}, but {offered.nodes} node(s) "
                f"offer {offered.cpus:g} CPUs and {offered.gpus:g} GPUs in all{kept}. "
                "Lower resources.workers or cpus_per_worker, or connect to a larger cluster with --address."
            )

    def _kept_cpus(self) -> float:
        return 0.0 if self.spec.datasets is None else DATASETS_CPUS

    def _heed(self, probe: checks.Preflight, gpus: float) -> checks.Findings | None:
        """Return what the gates found, if they were asked; raises StudyError where it is a bug."""
        if probe.job == "import":
            return None
        findings = probe.findings()
        checks.refuse_bugs(findings, str(self.study.source), on_gpus=gpus > 0)
        for line in findings.remarks():
            self.listener.note(line)
        return findings

    def _keep(self, found: checks.Findings | None, code: PackedCode) -> None:
        """Remember what was checked, or that nothing was to be; a later start does not ask again."""
        request = self.options.check
        if request is not None and (found is not None or self.options.no_check):
            checks.remember(self.storage, self.paths, checks.fingerprint(request, code.hash), found)

    def _conduct(self, record: StudyRecord, code: PackedCode, gpus: float, machine: Any) -> StudyOutcome:
        from orchestrator.engine.conduct import Conductor
        from orchestrator.engine.on_ray import TuneRuntime
        from orchestrator.engine.place import tidy
        from orchestrator.engine.pump import Pump

        record.reopen(self.options.again, this_user())
        conductor = Conductor(
            record,
            self.spec,
            gpus_per_worker=gpus,
            retry_failed=self.options.retry_failed,
            only=self.options.again,
            probes=not self.options.no_check,
        )
        if not conductor.finished():
            facts = self._facts(record, code, gpus)
            with self.trace.span("start the message actor"):
                started = TuneRuntime(facts, machine, kept_cpus=self._kept_cpus())
            with closing(started) as runtime:
                pump = Pump(conductor, runtime, record, self.listener)
                with _signals_to(pump), pump.beside() as road, self.trace.span("run trials"):
                    runtime.run(road)
            with self.trace.span("tidy up"):
                tidy(facts, record.state.cells.values())
        with self.trace.span("write the results"):
            return conclude(conductor, record)

    def _facts(self, record: StudyRecord, code: PackedCode, gpus: float) -> RunFacts:
        return RunFacts(
            spec=self.spec,
            storage=self.storage,
            study_root=self.paths.root,
            module_root=None if code.root is None else str(code.root),
            code_digest=record.archive_digest,
            code_archive=record.code_archive,
            gpus_per_worker=gpus,
            began=record.journal.began or 0.0,
            counted=code.counted,
            traced=self.trace.on,
            project=str(Path.cwd() if isinstance(self.spec.entrypoint, str) else self.study.entrypoint.root),
        )


@contextmanager
def _signals_to(pump: Any) -> Iterator[None]:
    """Leave cleanly at the first signal, at once at the second. Only the main thread may set handlers.

    SIGHUP is that of a terminal that was closed; `nohup` has it ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        seen.append(number)
        code = ExitCode.INTERRUPTED if number == signal.SIGINT else ExitCode.TERMINATED
        if len(seen) == 1:
            pump.stop_soon(f"stopped by {signal.Signals(number).name}", code)
            pump.note(LEAVING)
        else:
            pump.note("stopping at once")
            raise KeyboardInterrupt

    heeded = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in heeded}
    try:
        yield
    except KeyboardInterrupt:
        pump.stop_soon("stopped at once", ExitCode.INTERRUPTED)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _import_quietly(module: str) -> None:
    """Ray and tqdm ask for widgets when a notebook imports them; a study's table does without."""
    widgets = logging.getLogger("ray.widgets")
    level = widgets.level
    widgets.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(module)
    finally:
        widgets.setLevel(level)
