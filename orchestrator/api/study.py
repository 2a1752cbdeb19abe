"""A study that can be run: what its file says, checked, and everything about it worked out once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.api import checking
from orchestrator.api.recorded import OpenedStudy, StudyResult
from orchestrator.decide.states import TrialState
from orchestrator.engine.running import Beside, RunOptions, alone
from orchestrator.errors import Fault, InputError, OrchestratorError, StudyError
from orchestrator.record.layout import StudyPaths
from orchestrator.record.recorded import as_begun
from orchestrator.record.spans import UNTRACED, SpanFile
from orchestrator.record.storage import Storage
from orchestrator.study.cells import Arm, Plan, make_plan
from orchestrator.study.entrypoint import EntrypointSource
from orchestrator.study.loading import MAPPING, LoadedStudy, load_mapping, load_study
from orchestrator.study.spec import StudySpec

if TYPE_CHECKING:
    from orchestrator.api.forecasting import Forecast
    from orchestrator.api.progress import Progress
    from orchestrator.simulate.planning import Noise, PowerForecast
    from orchestrator.training.gates.results import CheckReport

_CODE = ("entrypoint", "datamodule", "datasets")
"""Keys of a study that name Python objects."""


class Study:
    """A study that can be run.

    Made by `from_file` or `from_dict`, which check everything that can be checked without running user code
    or writing anything. `spec` is the validated study, `plan` its arms and trials, `storage` where it is
    kept, `paths` its files there, `entrypoint` where the user's code was found, `source` the study file.
    """

    def __init__(
        self,
        spec: StudySpec,
        source: Path,
        entrypoint: EntrypointSource,
        arms: tuple[Arm, ...] | None = None,
        *,
        fresh: bool = False,
    ) -> None:
        self._asked, self.source, self.entrypoint = spec, source, entrypoint
        self.paths = StudyPaths.of(spec.name)
        self.storage = _storage(spec, source)
        self.spec = as_begun(spec, self.storage, None if fresh else self.paths)
        self.plan: Plan = make_plan(self.spec, arms)

    def anew(self) -> Study:
        """Return the study as it is where it has not begun yet: under the newest version of its rule."""
        return Study(self._asked, self.source, self.entrypoint, self.plan.arms, fresh=True)

    @classmethod
    def from_file(cls, path: str | Path, *overrides: str) -> Study:
        """Load and check a study file.

        Args:
            path: the file.
            overrides: single settings, such as `"baseline.optim.lr=3e-4"`, `"seeds=3"`.

        Raises:
            StudyError: with all faults of file, settings, arms, code and storage, each with its place.
            StorageUnavailable: a remote storage does not answer.
        """
        return cls._of(load_study(Path(path), list(overrides), cwd=Path.cwd()))

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any], *overrides: str, folder: str | Path = ".") -> Study:
        """Check a study that a program has put together: the keys of a study file, as plain data.

        Args:
            mapping: the study; `entrypoint`, `datamodule` and `datasets` may be the function or class itself
                instead of its name, where a file defines it.
            overrides: as in `from_file`.
            folder: where relative paths of `extends` begin, and where code is looked for besides the current
                directory.

        Raises:
            StudyError: with all faults; also for values that a study file cannot hold.
            StorageUnavailable: a remote storage does not answer.
        """
        named = {key: _name(key, value) if key in _CODE else value for key, value in mapping.items()}
        return cls._of(load_mapping(named, Path(folder), list(overrides), cwd=Path.cwd()))

    @classmethod
    def recorded_in(cls, found: OpenedStudy) -> Study:
        """Return a study on disk with the settings that it was started with, to run more of it.

        Raises `StudyError` when it cannot be run from here: its code is looked for in the current directory.
        """
        spec = found.view().spec
        same = Storage.open(spec["storage"]).uri == found.storage.uri
        where = () if same else (f"storage={found.storage.uri}",)
        study = cls.from_dict(spec, *where)
        if study.paths != found.paths:
            hint = f"orchestrate ablate runs the one in {study.paths.root}"
            message = "this directory is no longer the study's: --fresh has put it aside"
            raise StudyError(Fault(message, field="study", value=found.root, hint=hint))
        return study

    @classmethod
    def _of(cls, loaded: LoadedStudy) -> Study:
        assert loaded.entrypoint is not None  # looked for because of `cwd`
        return cls(loaded.spec, loaded.source, loaded.entrypoint, loaded.arms)

    @property
    def name(self) -> str:
        """The study's name."""
        return self.spec.name

    @cached_property
    def config(self) -> str | None:
        """The study file for messages; None for a study that no file holds."""
        return None if self.source.name == MAPPING else str(self.source)

    def forecast(
        self, *, retry_failed: bool = False, fresh: bool = False, earlier: OpenedStudy | None = None
    ) -> Forecast:
        """Return what the next run would do, and what it would take as far as finished trials tell.

        Args:
            retry_failed: as in `run`.
            fresh: as in `run`.
            earlier: a study to tell what a trial takes, while this one has finished none.
        """
        from orchestrator.api.forecasting import forecast

        return forecast(
            self.anew() if fresh else self, retry_failed=retry_failed, fresh=fresh, earlier=earlier
        )

    def power(self, noise: Noise) -> PowerForecast:
        """Return what the study can detect with that noise between seeds. Takes about a second: it simulates.

        Args:
            noise: `OpenedStudy.noise()` of an earlier study or a pilot, or `Noise(sd, rho)`.
        """
        from orchestrator.api.power import predict

        return predict(self.spec, self.plan, noise)

    def check(self, *gates: str, out: str | Path | None = None) -> CheckReport:
        """Ask the gates whether the recipe is sound: data, model, gradients, speed, what every arm does.

        The code runs in a process of its own, without Ray.

        Args:
            gates: only these, such as `"A6"`; none: all.
            out: a folder for the page, its data and TensorBoard; None: nothing is written.

        Raises:
            InputError: there is no such gate, or `out` cannot be written.
            StudyError: the entrypoint does not import.
        """
        return checking.check(self, gates, None if out is None else Path(out))

    def recorded(self) -> OpenedStudy:
        """Return the study on disk, to read from; its methods raise `StudyError` while it has never run."""
        return OpenedStudy(self.storage, self.paths)

    def run(
        self,
        address: str | None = None,
        *,
        fresh: bool = False,
        extend: bool = False,
        accept_code_change: bool = False,
        retry_failed: bool = False,
        check: bool = True,
        trace: bool | SpanFile = False,
        progress: Progress = "auto",
    ) -> StudyResult:
        """Run the study, or what is left of it, and write its report.

        A Ray that this process has initialised is used and left alone; otherwise one is started on this
        machine, or the cluster at `address` connected to, and left at the end. Running again finishes the
        missing trials and nothing else. In the main thread the first Ctrl-C stops cleanly, the second at
        once.

        Args:
            address: a running Ray cluster; None: the Ray of this process, or one on this machine.
            fresh: start anew; the old directory is renamed, never deleted.
            extend: accept more arms, alternatives and seeds.
            accept_code_change: go on with changed code; later trials are marked.
            retry_failed: run again what failed by its own fault, too.
            check: ask the cheap gates before a new study, and refuse one in which they find a fault.
            trace: write down what driver and workers do, and for how long (`trace.json.gz`); with spans
                that have begun earlier, if you like.
            progress: where to show the run: `auto` (what fits terminal, notebook or log), `rich`, `notebook`,
                `plain`, `none`, or a listener of your own.

        Returns:
            How it ended, and the recorded study to read from. Trials that fail do not raise.

        Raises:
            InputError: the study, its code or its check cannot be used (`ChangedStudy`, `ChangedCode`).
            Unavailable: no cluster, no storage, or another process runs this study (`StudyHeld`).
        """
        asked = checking.request_of(self)
        options = RunOptions(
            address,
            fresh,
            extend,
            accept_code_change,
            retry_failed,
            asked,
            no_check=not check,
            trace=trace if isinstance(trace, SpanFile) else SpanFile() if trace else UNTRACED,
        )
        return self._run_and_report(options, progress)

    def retry(
        self,
        arm: str,
        seed: int,
        *,
        sample: int | None = None,
        address: str | None = None,
        accept_code_change: bool = False,
        progress: Progress = "auto",
    ) -> StudyResult:
        """Run one trial of the recorded study again, and nothing else; the report is written anew.

        Args:
            arm: as `plan` names it.
            seed: of the trial.
            sample: of the search, whose seed it is.
            address: as in `run`.
            accept_code_change: as in `run`; a trial that failed needs no permission.
            progress: as in `run`.

        Raises:
            InputError: there is no such trial; else as `run`.
        """
        recorded = self.recorded()
        cell = recorded.trial(arm, seed, sample).cell
        failed = recorded.view().state.cells[cell].state is TrialState.FAILED
        options = RunOptions(
            address,
            accept_code_change=accept_code_change,
            retry_failed=failed,
            check=checking.request_of(self),
            again=(cell,),
        )
        return self._run_and_report(options, progress)

    def run_with(
        self, options: RunOptions, progress: Progress = "auto", beside: Beside = alone
    ) -> StudyResult:
        """Run what is left of the study, for programs that hold the options together. Writes no report, and
        notifies nobody.
        """
        from orchestrator.api.progress import shown
        from orchestrator.engine.driver import run_study

        with shown(progress) as listener:
            study = self.anew() if options.fresh else self
            return StudyResult(self.storage, self.paths, run_study(study, options, listener, beside))

    def _run_and_report(self, options: RunOptions, progress: Progress) -> StudyResult:
        from orchestrator.api.notifying import Notifier

        trace = options.trace
        try:
            with Notifier(self) as notifier:
                with trace.span("the study"):
                    result = self.run_with(options, progress, notifier.beside)
                with trace.span("draw the report"):
                    final = result.report(write=True, for_print=False)
                notifier.ended(result.outcome, lambda: final)
        finally:
            trace.close()
        return replace(result, final=final, trace=None if trace is UNTRACED else _traced(result))

    def __repr__(self) -> str:
        return f"Study({self.name}: {len(self.plan.arms)} arms, {len(self.plan.cells)} trials)"

    def _repr_html_(self) -> str:
        return self.forecast()._repr_html_()


def _traced(result: StudyResult) -> str:
    """Draw the trace; returns where it lies, or why there is none: no reason to lose the result."""
    try:
        return result.trace_file()
    except (OSError, OrchestratorError) as error:
        return f"not written: {error}"


def part_of(study: Study, changed: Mapping[str, Any]) -> Study:
    """Return a study with these keys instead, no search, and every trial to its full length."""
    data = study.spec.to_dict()
    stopping = {key: data["stopping"][key] for key in ("max", "unit")}
    data |= {"tune": None, "stopping": {**stopping, "rule": "none"}, **changed}
    return Study(StudySpec.model_validate(data), study.source, study.entrypoint)


def _storage(spec: StudySpec, source: Path) -> Storage:
    """Where the study is kept: it can be written, and no link leads out of it."""
    try:
        storage = Storage.open(spec.storage)
        storage.check_shared()
        storage.check_writable()
    except InputError as error:
        raise StudyError([replace(fault, file=str(source)) for fault in error.faults]) from None
    storage.refuse_links_out(StudyPaths.of(spec.name).root)
    return storage


def _name(key: str, value: Any) -> Any:
    """`module:name` of a function or class; anything else as it is."""
    if not callable(value):
        return value
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", "")
    if module in (None, "__main__") or not name.isidentifier():
        hint = "workers import it: put it at the top level of a file (in a notebook: %%writefile train.py)"
        raise StudyError(
            Fault("is not defined in a module of its own", field=key, value=repr(value), hint=hint)
        )
    return f"{module}:{name}"
