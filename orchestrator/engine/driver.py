"""One run of `orchestrate ablate`: connect, open the record, let Tune run the cells, close the record."""

from __future__ import annotations

import logging
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from orchestrator.decide.agenda import agenda
from orchestrator.decide.states import TrialState
from orchestrator.engine.api import Listener, RunOptions, StudyOutcome
from orchestrator.engine.messages import LaneSpec
from orchestrator.engine.probe import EntrypointProbe
from orchestrator.errors import ClusterUnavailable, ExitCode, StudyHeld
from orchestrator.record.codearchive import code_hash, pack_code
from orchestrator.record.history import History, fold
from orchestrator.record.journal import read_journal
from orchestrator.record.layout import StudyPaths
from orchestrator.record.lease import describe, is_alive, read_lease
from orchestrator.record.patience import told_to
from orchestrator.record.provenance import collect_env
from orchestrator.record.results import results_table, write_results
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
        storage.check_writable()
        source = locate(self.spec.entrypoint, self.study.source, Path.cwd())
        shipped = _code(source)
        paths = StudyPaths.of(self.spec.name)
        new = self.options.fresh or self._reconcile(storage, paths, plan, shipped) == "new"
        if not new:
            history = fold(read_journal(storage, paths.journal).events, plan)
            if self._nothing_left(history):
                return self._answered_already(storage, paths, history)
        probe = EntrypointProbe(self.spec.entrypoint, source.root)
        try:
            return self._run(plan, storage, shipped, probe)
        finally:
            probe.end()

    def _reconcile(self, storage: Storage, paths: StudyPaths, plan: Plan, shipped: _Code) -> str:
        """Refuse a changed study, changed code and a study that another driver holds."""
        options = self.options
        start = Start(
            shipped.hash, b"", {}, extend=options.extend, accept_code_change=options.accept_code_change
        )
        how = reconcile(storage, paths, self.spec, plan, start)
        holder = read_lease(storage, paths)
        if holder is not None and is_alive(holder, time.time()):
            raise StudyHeld(f"the study {self.spec.name!r} is being run by {describe(holder)}")
        return how

    def _nothing_left(self, history: History) -> bool:
        """Whether every cell is answered, or failed for its own reasons, and the results call for no more."""
        if self.options.retry_failed and history.remaining(retry_failed=True):
            return False
        left = agenda(self.spec, history.plan, history.cells, history.families)
        return left.complete and not any(cell in left.skip for cell in history.remaining())

    def _answered_already(self, storage: Storage, paths: StudyPaths, history: History) -> StudyOutcome:
        """Nothing is left to run: only the tables are written, in case they are missing."""
        write_results(storage, paths, results_table(self.spec, history, paths))
        states = [record.state for record in history.cells.values()]
        failed = any(not state.answered for state in states)
        return StudyOutcome(
            exit_code=ExitCode.FAILED if failed else ExitCode.DONE,
            root=storage.path(paths.root),
            counts={str(state): states.count(state) for state in TrialState},
        )

    def _run(self, plan: Plan, storage: Storage, shipped: _Code, probe: EntrypointProbe) -> StudyOutcome:
        with _import_ahead("ray.tune"):
            probe.result()
        from orchestrator.engine import cluster

        cluster.connect(self.options.address)
        try:
            gpus = cluster.gpus_per_worker(self.spec.resources)
            self._check_capacity(gpus)
            record = self._open_record(plan, storage, shipped)
            try:
                with told_to(self.listener.note):
                    return self._conduct(plan, storage, record, shipped, gpus)
            finally:
                record.close()
        finally:
            _shut_down()

    def _check_capacity(self, gpus: float) -> None:
        """A group that can never fit is found before the study is created."""
        from orchestrator.engine import cluster

        resources = self.spec.resources
        offered = cluster.capacity(resources.cpus_per_worker, gpus)
        if cluster.lanes(resources, offered) < 1:
            raise ClusterUnavailable(
                f"one worker group needs {resources.workers} x ({resources.cpus_per_worker:g} CPUs, "
                f"{gpus:g} GPUs), but {offered.nodes} node(s) offer {offered.cpus:g} CPUs and "
                f"{offered.gpus:g} GPUs in all. "
                "Lower resources.workers or cpus_per_worker, or connect to a larger cluster with --address."
            )

    def _open_record(self, plan: Plan, storage: Storage, shipped: _Code) -> StudyRecord:
        return StudyRecord.open(
            storage,
            self.spec,
            plan,
            shipped.hash,
            fresh=self.options.fresh,
            extend=self.options.extend,
            accept_code_change=self.options.accept_code_change,
            code_bytes=shipped.archive,
            env=collect_env(shipped.root or Path.cwd()),
        )

    def _conduct(
        self, plan: Plan, storage: Storage, record: StudyRecord, shipped: _Code, gpus: float
    ) -> StudyOutcome:
        import ray

        from orchestrator.engine.broker import Broker
        from orchestrator.engine.conductor import Conductor
        from orchestrator.engine.pump import Pump

        conductor = Conductor(
            record,
            self.spec,
            gpus_per_trial=gpus * self.spec.resources.workers,
            retry_failed=self.options.retry_failed,
            code_changed=record.code_changed,
        )
        if not conductor.finished():
            broker = ray.remote(num_cpus=0, max_concurrency=100_000)(Broker).remote()
            pump = Pump(conductor, broker, record, self.listener, self.spec.resources, gpus)
            lane = self._lane_spec(storage, record, shipped, gpus)
            with self._signals_to(pump), pump:
                _run_tune(conductor, broker, lane)
        return self._close(plan, storage, record, conductor)

    def _lane_spec(self, storage: Storage, record: StudyRecord, shipped: _Code, gpus: float) -> LaneSpec:
        spec = self.spec
        return LaneSpec(
            study=spec.name,
            entrypoint=spec.entrypoint,
            module_root=None if shipped.root is None else str(shipped.root),
            code_hash=shipped.hash,
            code_archive=_archive(record, shipped),
            storage=storage,
            study_root=record.paths.root,
            metric=spec.metric.name,
            mode=spec.metric.mode,
            average_last=spec.metric.average_last,
            also=tuple(spec.metric.also),
            unit=spec.stopping.unit,
            max_length=float(spec.stopping.max),
            checkpoint_every=spec.checkpoint.every,
            keep_best=spec.checkpoint.keep_best,
            keep_latest=spec.checkpoint.keep_latest,
            allow_short=spec.allow_short,
            workers=spec.resources.workers,
            cpus_per_worker=spec.resources.cpus_per_worker,
            gpus_per_worker=gpus,
            reuse_workers=spec.resources.reuse_workers,
            monitor=spec.monitor,
        )

    def _close(self, plan: Plan, storage: Storage, record: StudyRecord, conductor: Any) -> StudyOutcome:
        if conductor.stop is not None:
            conductor.give_up_waiting()
        if conductor.lost is not None:
            raise conductor.lost
        history = fold(read_journal(storage, record.paths.journal).events, plan)
        write_results(storage, record.paths, results_table(self.spec, history, record.paths))
        if conductor.stop is not None and conductor.stop.error is not None:
            raise conductor.stop.error
        code = ExitCode(conductor.exit_code())
        return StudyOutcome(
            exit_code=code,
            root=storage.path(record.paths.root),
            counts=conductor.counts(),
            interrupted=code in (ExitCode.INTERRUPTED, ExitCode.TERMINATED),
            resume_hint=f"orchestrate ablate --config {self.study.source}",
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


def _run_tune(conductor: Any, broker: Any, lane: LaneSpec) -> None:
    """Let Tune run until every cell is answered or the study stops."""
    from ray import tune
    from ray.tune import PlacementGroupFactory, TuneConfig, Tuner

    from orchestrator.engine.lane import Lane
    from orchestrator.engine.tune_adapters import CellScheduler, CellSearcher

    staging = tempfile.mkdtemp(prefix="orchestrator-tune-")
    trainable = tune.with_resources(
        tune.with_parameters(Lane, broker=broker, spec=lane),
        # the head node's own resource: trial actors run beside the driver and take no CPU from trials
        PlacementGroupFactory([{"node:__internal_head__": 0.0001}]),
    )
    tuner = Tuner(
        trainable,
        tune_config=TuneConfig(
            search_alg=CellSearcher(conductor, broker),
            scheduler=CellScheduler(conductor, broker),
            num_samples=-1,
            reuse_actors=lane.reuse_workers,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name="tune", storage_path=staging, verbose=0, failure_config=tune.FailureConfig(max_failures=0)
        ),
    )
    try:
        tuner.fit()
    finally:
        shutil.rmtree(staging, ignore_errors=True)


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
