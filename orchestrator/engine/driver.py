"""One run of `orchestrate ablate`: connect, open the record, let Tune run the cells, close the record."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from orchestrator.decide.agenda import agenda
from orchestrator.decide.states import TrialState
from orchestrator.engine.api import Listener, RunOptions, StudyOutcome
from orchestrator.engine.closing import conclude
from orchestrator.engine.messages import RunFacts
from orchestrator.engine.preflight import Findings, Preflight, fingerprint, refuse_bugs, remember, remembered
from orchestrator.engine.probe import EntrypointProbe
from orchestrator.errors import ClusterUnavailable, ExitCode
from orchestrator.record.codearchive import code_hash, pack_code
from orchestrator.record.layout import StudyPaths
from orchestrator.record.lease import outlast
from orchestrator.record.patience import told_to
from orchestrator.record.provenance import collect_env
from orchestrator.record.recorded import RecordedStudy, read_record
from orchestrator.record.results import results_table, write_results
from orchestrator.record.state import StudyState
from orchestrator.record.storage import Storage
from orchestrator.record.studyrecord import Start, StudyRecord, reconcile
from orchestrator.study.cells import Plan, make_plan
from orchestrator.study.entrypoint import EntrypointSource, locate
from orchestrator.study.loading import LoadedStudy

log = logging.getLogger(__name__)


class Driver:
    """See the module's text. One object per run."""

    def __init__(self, study: LoadedStudy, options: RunOptions, listener: Listener) -> None:
        self.study, self.options, self.listener = study, options, listener
        self.spec = study.spec
        self._signals = 0

    def run(self) -> StudyOutcome:
        """Run what is left of the study. What can be refused is refused before Ray is started."""
        plan = make_plan(self.spec)
        storage = Storage.open(self.spec.storage)
        storage.check_shared()
        storage.check_writable()
        source = locate(self.spec.entrypoint, self.study.source, Path.cwd())
        shipped = _code(source)
        paths = StudyPaths.of(self.spec.name)
        start = self._start(shipped)
        found = None if start.fresh else read_record(storage, paths)
        reconcile(found, self.spec, plan, start)
        if outlast(storage, paths, self.listener.note) and found is not None:
            found = read_record(storage, paths, found.journal)
        if found is not None:
            state = found.state_of(plan)
            if self._nothing_left(state):
                return self._answered_already(storage, paths, state)
        probe = self._ask_ahead(storage, paths, source, shipped)
        try:
            return self._run(plan, storage, shipped, probe, found)
        finally:
            probe.end()

    def _start(self, shipped: _Code) -> Start:
        options = self.options
        return Start(
            shipped.hash,
            shipped.archive,
            fresh=options.fresh,
            extend=options.extend,
            accept_code_change=options.accept_code_change,
        )

    def _nothing_left(self, history: StudyState) -> bool:
        """Whether every cell is answered, or failed for its own reasons, and the results call for no more."""
        if self.options.retry_failed and history.remaining(retry_failed=True):
            return False
        left = agenda(self.spec, history.plan, history.cells, history.families)
        return left.complete and not any(cell in left.skip for cell in history.remaining())

    def _answered_already(self, storage: Storage, paths: StudyPaths, history: StudyState) -> StudyOutcome:
        """Nothing is left to run: only the tables are written, in case they are missing."""
        write_results(storage, paths, results_table(self.spec, history))
        states = [record.state for record in history.cells.values()]
        failed = any(not state.answered for state in states)
        return StudyOutcome(
            exit_code=ExitCode.FAILED if failed else ExitCode.DONE,
            root=storage.path(paths.root),
            counts={str(state): states.count(state) for state in TrialState},
        )

    def _ask_ahead(
        self, storage: Storage, paths: StudyPaths, source: EntrypointSource, shipped: _Code
    ) -> EntrypointProbe | Preflight:
        """What runs beside the start of Ray: the gates where they are wanted, else the import alone."""
        request = self.options.check
        if request is None or self.options.no_check:
            return EntrypointProbe(self.spec.entrypoint, source.root, self.spec.datamodule)
        if not self.options.fresh and remembered(storage, paths) == fingerprint(request, shipped.hash):
            return EntrypointProbe(self.spec.entrypoint, source.root, self.spec.datamodule)
        return Preflight(request, threads=max(1, int(self.spec.resources.cpus_per_worker)))

    def _heed(self, probe: EntrypointProbe | Preflight, gpus: float) -> Findings | None:
        """What the gates found, if they were asked; raises StudyError where it is a bug."""
        if not isinstance(probe, Preflight):
            return None
        findings = probe.findings()
        refuse_bugs(findings, str(self.study.source), on_gpus=gpus > 0)
        for line in findings.remarks():
            self.listener.note(line)
        return findings

    def _keep(self, storage: Storage, paths: StudyPaths, shipped: _Code, found: Findings | None) -> None:
        """Remember what was checked, or that nothing was to be; a later start does not ask again."""
        request = self.options.check
        if request is not None and (found is not None or self.options.no_check):
            remember(storage, paths, fingerprint(request, shipped.hash), found)

    def _run(
        self,
        plan: Plan,
        storage: Storage,
        shipped: _Code,
        probe: EntrypointProbe | Preflight,
        found: RecordedStudy | None,
    ) -> StudyOutcome:
        with _import_ahead("ray.tune"):
            probe.result()
        from orchestrator.engine import cluster

        cluster.connect(self.options.address)
        try:
            gpus = cluster.gpus_per_worker(self.spec.resources)
            self._check_capacity(gpus)
            findings = self._heed(probe, gpus)
            start = replace(self._start(shipped), env=collect_env(shipped.root or Path.cwd()))
            record = StudyRecord.open(storage, self.spec, plan, start, found=found)
            try:
                self._keep(storage, record.paths, shipped, findings)
                with told_to(self.listener.note):
                    return self._conduct(storage, record, shipped, gpus)
            finally:
                record.close()
        finally:
            _shut_down()

    def _check_capacity(self, gpus: float) -> None:
        """On one machine, a group that can never fit is found before the study is created.

        A cluster may still grow, or get its nodes back: there the study waits and says what for.
        """
        from orchestrator.engine import cluster
        from orchestrator.engine.capacity import capacity, group_in_words, waits_for

        resources = self.spec.resources
        offered = capacity(cluster.nodes(self._kept_cpus()), resources, gpus)
        if self.options.address is None and waits_for(resources, gpus, offered) is not None:
            kept = " (one CPU of each node is kept for `datasets`)" if self.spec.datasets else ""
            raise ClusterUnavailable(
                f"one worker group needs {group_in_words(resources, gpus)}, but {offered.nodes} node(s) "
                f"offer {offered.cpus:g} CPUs and {offered.gpus:g} GPUs in all{kept}. "
                "Lower resources.workers or cpus_per_worker, or connect to a larger cluster with --address."
            )

    def _kept_cpus(self) -> float:
        from orchestrator.engine import cluster

        return 0.0 if self.spec.datasets is None else cluster.DATASETS_CPUS

    def _conduct(self, storage: Storage, record: StudyRecord, shipped: _Code, gpus: float) -> StudyOutcome:
        from orchestrator.engine.conductor import Conductor
        from orchestrator.engine.pump import Pump
        from orchestrator.engine.tune_runtime import TuneRuntime

        conductor = Conductor(
            record,
            self.spec,
            gpus_per_worker=gpus,
            retry_failed=self.options.retry_failed,
            code_changed=record.code_changed,
        )
        if not conductor.finished():
            facts = self._facts(storage, record, shipped, gpus)
            grows = self.options.address is not None
            runtime = TuneRuntime(facts, grows=grows, kept_cpus=self._kept_cpus())
            pump = Pump(conductor, runtime, record, self.listener)
            with self._signals_to(pump), pump:
                runtime.run(pump.road)
        return conclude(conductor, record, f"orchestrate ablate --config {self.study.source}")

    def _facts(self, storage: Storage, record: StudyRecord, shipped: _Code, gpus: float) -> RunFacts:
        return RunFacts(
            spec=self.spec,
            storage=storage,
            study_root=record.paths.root,
            module_root=None if shipped.root is None else str(shipped.root),
            code_hash=shipped.hash,
            code_archive=_archive(record, shipped),
            gpus_per_worker=gpus,
            began=record.journal.began or 0.0,
        )

    @contextmanager
    def _signals_to(self, pump: Any) -> Iterator[None]:
        """First SIGINT or SIGTERM: leave cleanly; second: at once. Only the main thread may set handlers."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def handle(number: int, frame: FrameType | None) -> None:
            del frame
            self._signals += 1
            code = ExitCode.TERMINATED if number == signal.SIGTERM else ExitCode.INTERRUPTED
            if self._signals == 1:
                pump.stop_soon(f"stopped by {signal.Signals(number).name}", code)
            else:
                pump.note("stopping at once")
                raise KeyboardInterrupt

        before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        except KeyboardInterrupt:
            pump.stop_soon("stopped at once", ExitCode.INTERRUPTED)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class _Code:
    """The code directory as it was when the run started."""

    def __init__(self, root: Path | None, digest: str, archive: bytes) -> None:
        self.root, self.hash, self.archive = root, digest, archive


def _code(source: EntrypointSource) -> _Code:
    if "site-packages" in source.root.parts:  # installed on every node: its version is in env.json
        return _Code(None, "installed", b"")
    return _Code(source.root, code_hash(source.root), pack_code(source.root))


def _archive(record: StudyRecord, shipped: _Code) -> str:
    paths = record.paths
    return paths.changed_code_archive(shipped.hash) if record.code_changed else paths.code_archive


@contextmanager
def _import_ahead(module: str) -> Iterator[None]:
    """Import a slow module while this thread waits for another process."""
    import importlib

    thread = threading.Thread(target=importlib.import_module, args=(module,), daemon=True)
    thread.start()
    yield
    thread.join()


def _shut_down() -> None:
    import ray

    ray.shutdown()
