"""A recorded study: found by its name or directory, and read. Nothing needs to run, nothing is changed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ExitCode, Fault, InputError, UnreadableRecord
from orchestrator.record.run import Run

if TYPE_CHECKING:
    from orchestrator.api.datatable import DataTable
    from orchestrator.engine.running import StudyOutcome
    from orchestrator.record.layout import TrialPaths
    from orchestrator.record.metrictable import Table
    from orchestrator.record.state import TrialRecord
    from orchestrator.record.storage.backend import Stored
    from orchestrator.reporting.model import Comparison, StudyReport
    from orchestrator.reporting.standing import StudyStanding
    from orchestrator.simulate.planning import Noise
    from orchestrator.simulate.recorded import Replay
    from orchestrator.study.cells import Cell
    from orchestrator.study.spec import StudySpec

STUDY_SUFFIXES = (".yaml", ".yml")
HINT = "give a run directory, the name of a study below --storage, or its study file"


@dataclass(frozen=True)
class OpenedStudy(Run):
    """A study on disk, running or over. Every method reads what is recorded now.

    Raises:
        UnreadableRecord: by every method, when the record is damaged.
    """

    @property
    def name(self) -> str:
        """The name of its directory."""
        return self.paths.root

    @property
    def spec(self) -> StudySpec:
        """The study as it was started, with every default."""
        return self.view().study

    def status(self) -> StudyStanding:
        """Where the study stands: its trials with state, length and value, and who runs it."""
        from orchestrator.reporting.standing import standing

        return standing(self)

    def results(self) -> DataTable:
        """One row per trial, with the columns of `results.parquet`."""
        from orchestrator.api.datatable import DataTable
        from orchestrator.record.results import results_table

        view = self.view()
        return DataTable(results_table(view.study, view.state))

    def effects(self) -> DataTable:
        """One row per effect and phase: Δ, interval, p, verdict, as in `effects.json`.

        Δ and its interval are in the metric's units, `wall_s` and `gpu_s` in seconds; null where there is
        nothing to say.
        """
        from orchestrator.api.effectstable import EffectsTable

        return EffectsTable.of(self.report(curves=False))

    def metrics(self, arm: str, seed: int, sample: int | None = None) -> DataTable:
        """One row per report of a trial, the metrics in columns; none while it has not reported.

        Args:
            arm: the arm's name.
            seed: the trial's seed.
            sample: a sample of the search instead, with the search's seed.

        Raises:
            InputError: the study has no such trial.
        """
        from orchestrator.record.metrictable import REPORTS

        return self._table(REPORTS, arm, seed, sample)

    def steps(self, arm: str, seed: int, sample: int | None = None) -> DataTable:
        """Return the scalars that a trial has logged between its reports, one row per call."""
        from orchestrator.record.metrictable import STEPS

        return self._table(STEPS, arm, seed, sample)

    def observations(self, arm: str, seed: int, sample: int | None = None) -> DataTable:
        """Return what the monitors of a trial wrote, one row each."""
        from orchestrator.record.metrictable import OBSERVATIONS

        return self._table(OBSERVATIONS, arm, seed, sample)

    def log(self, arm: str, seed: int, sample: int | None = None, rank: int = 0) -> str:
        """Return what a trial has printed so far; empty where it has not begun."""
        path = self.trial_paths(self.trial(arm, seed, sample)).log(rank)
        return self.storage.read_grown(path).decode("utf-8", errors="replace")

    def report(
        self, *, curves: bool = True, write: bool = False, new_data: bool = True, for_print: bool = True
    ) -> StudyReport:
        """Return the report of the study as far as it got.

        Args:
            curves: with the learning curves, which takes reading one metric table per trial.
            new_data: with the intervals for new seeds and new data, which takes reading the scores that the
                trials have kept.
            write: also write every form of it, and the results, into the study's directory.
            for_print: with figures as PDF and PNG, which take longer than all else that is written.
        """
        from orchestrator.record.results import results_table, write_results
        from orchestrator.reporting.build import build_report
        from orchestrator.reporting.curves import said_by_tables, with_curves
        from orchestrator.reporting.newdata import with_new_data
        from orchestrator.reporting.write import write_report
        from orchestrator.study.registered import design_of

        view = self.view()
        spec = view.study
        built = build_report(self.storage, self.paths, spec, view.plan, view.state)
        if curves or write or said_by_tables(built, spec):
            built = with_curves(built, self.storage, self.paths, spec)
        if new_data or write:
            arms = view.plan.arms
            built = with_new_data(built, self.storage, self.paths, design_of(spec).contrasts(spec, arms))
        if write:
            write_results(self.storage, self.paths, results_table(spec, view.state))
            write_report(self.storage, self.paths, built, for_print=for_print)
        return built

    def trace_file(self, out: str | Path | None = None) -> str:
        """Draw when what happened as a trace for Perfetto (Chrome's trace events, compressed).

        Args:
            out: a file; None: `trace.json.gz` in the study's directory.

        Returns:
            Where it lies.

        Raises:
            InputError: `out` cannot be written.
            StorageUnavailable: nor can the study's directory.
        """
        from orchestrator.reporting.trace import drawn

        data = drawn(self.storage, self.paths, self.view().state)
        if out is None:
            self.storage.write_atomic(self.paths.trace, data, lasting=False)
            return f"{self.root}/{self.paths.trace.rpartition('/')[2]}"
        try:
            Path(out).write_bytes(data)
        except OSError as error:
            hint = "name a file in a directory that can be written"
            raise InputError(
                Fault(error.strerror or str(error), "--out", value=str(out), hint=hint)
            ) from None
        return str(out)

    def compare(self, other: OpenedStudy) -> Comparison:
        """Return the effects of both studies side by side; with itself: its fixed against its retuned
        settings.

        Raises:
            InputError: the two measure different things.
        """
        from orchestrator.reporting.compare import compare

        return compare(self.report(curves=False), other.report(curves=False))

    def replay(self, rules: Sequence[str] = (), slots: int | None = None) -> tuple[Replay, ...]:
        """Return what the study would have cost and said under other rules; nothing is resampled.

        Args:
            rules: `none`, `resolve`, `asha`, `save`, `reinvest`, `strict`; none given: the first three.
            slots: trials at the same time, for `asha`; None: as many as fit on this machine.

        Raises:
            InputError: an unknown rule, or a design that cannot be replayed.
        """
        from orchestrator.record.metrictable import read_metrics
        from orchestrator.simulate.recorded import default_rules, replays

        view = self.view()
        spec = view.study

        def rows(record: TrialRecord) -> list[dict[str, Any]]:
            return read_metrics(self.storage, self.trial_paths(record))

        return tuple(replays(spec, view.state, tuple(rules) or default_rules(), rows, slots or self.slots()))

    def slots(self) -> int:
        """How many of its trials fit on this machine at the same time, at least 1."""
        from orchestrator.api.machine import Machine, slots

        return max(1, slots(self.spec.resources, Machine.here(), len(self.view().plan.cells)))

    def noise(self) -> Noise | None:
        """How much its metric differs between seeds; None where two finished seeds of an arm are missing."""
        from orchestrator.decide.evaluation import evaluations, table
        from orchestrator.simulate.planning import noise_of

        view = self.view()
        spec = view.study
        evaluation = evaluations(spec, view.plan, view.state.families)[0]
        results = table(evaluation, view.state.cells).values.tolist()
        values = {
            arm: dict(zip(evaluation.seeds, row, strict=True))
            for arm, row in zip(evaluation.arms, results, strict=True)
        }
        reference = values.pop(evaluation.arms[0])
        return noise_of(reference, values)

    def stop(self) -> str | None:
        """Ask whoever runs the study to stop cleanly; returns who that is, None when nobody does."""
        from orchestrator.record.control import ask_to_stop
        from orchestrator.record.lease import describe, is_alive, read_lease
        from orchestrator.record.provenance import this_user

        owner = read_lease(self.storage, self.paths)
        if owner is None or not is_alive(owner, time.time()):
            return None  # a request left lying would stop the next driver at its start
        ask_to_stop(self.storage, self.paths, this_user())
        return describe(owner)

    def trial(self, arm: str, seed: int, sample: int | None = None) -> Cell:
        """Return the trial of that seed or sample; of two phases under one seed the later one.

        Raises:
            InputError: there is none; the hint says which there are.
        """
        from orchestrator.study.faults import nearest

        plan = self.view().plan
        arms = [known.name for known in plan.arms]
        if arm not in arms:
            hint = nearest(arm, arms)
            raise InputError(Fault("the study has no such arm", field="ARM", value=arm, hint=hint))
        cells = [cell for cell in plan.cells if cell.arm == arm]
        found = [cell for cell in cells if (cell.seed, cell.sample) == (seed, sample)]
        if found:
            return found[-1]
        if sample is None:
            what, field, value = "seed", "SEED", seed
            valid = [str(cell.seed) for cell in cells if cell.sample is None]
        else:
            what, field, value = "sample under this seed", "--sample", sample
            valid = [str(cell.sample) for cell in cells if cell.seed == seed and cell.sample is not None]
        hint = f"valid: {', '.join(dict.fromkeys(valid)) or 'none'}"
        raise InputError(Fault(f"the arm has no such {what}", field=field, value=str(value), hint=hint))

    def trial_paths(self, trial: Cell | TrialRecord) -> TrialPaths:
        """Return the files of one trial, below `storage`."""
        return self.paths.trial(trial.arm, trial.seed, trial.sample, trial.phase)

    def _table(self, table: Table, arm: str, seed: int, sample: int | None) -> DataTable:
        from orchestrator.api.datatable import DataTable
        from orchestrator.record.metrictable import read_table, to_table

        rows = read_table(self.storage, self.trial_paths(self.trial(arm, seed, sample)), table)
        return DataTable(to_table(rows, table.columns))

    def _repr_html_(self) -> str:
        return self.status()._repr_html_()


@dataclass(frozen=True)
class StudyResult(OpenedStudy):
    """How a run of a study ended, and the recorded study to read from.

    `final`: the report that was written at the end; None where none was asked for. `trace`: where the trace
    lies, or why it is not there; None where none was asked for.
    """

    outcome: StudyOutcome
    final: StudyReport | None = None
    trace: str | None = None

    @property
    def exit_code(self) -> ExitCode:
        """What the command would have ended with: `DONE` when every trial is answered."""
        return self.outcome.exit_code

    @property
    def counts(self) -> dict[str, int]:
        """Trials per state."""
        return {state: number for state, number in self.outcome.counts.items() if number}

    @property
    def interrupted(self) -> bool:
        """Whether somebody stopped it; the same call again goes on."""
        return self.outcome.interrupted

    def __repr__(self) -> str:
        counts = ", ".join(f"{number} {state}" for state, number in self.counts.items())
        return f"StudyResult({self.root}: {self.exit_code.name.lower()}; {counts})"


def open_study(study: str | Path | None = None, storage: str = "runs") -> OpenedStudy:
    """Find a recorded study.

    Args:
        study: a run directory or URI, a study file, or a name below `storage`; None: the only study there.
        storage: where studies are kept: a path or a URI.

    Raises:
        InputError: there is no such study, or several could be meant.
    """
    candidates = [_only_study(storage)] if study is None else _candidates(str(study), storage)
    for parent, name in candidates:
        run = _run(parent, name)
        if run is not None:
            return run
    looked = ", ".join(f"{parent.rstrip('/')}/{name}" for parent, name in candidates)
    raise InputError(Fault("no recorded study there", value=looked, hint=HINT))


def places_of(study: str, storage: str = "runs") -> list[str]:
    """Return the directories that a study could be recorded in, whether it has begun or not."""
    from orchestrator.record.layout import safe_name
    from orchestrator.record.storage import Storage

    found = [(parent, name) for parent, name in _candidates(study, storage) if _is_name(name)]
    return [Storage.open(parent).path(one) for parent, name in found for one in {name, safe_name(name)}]


def _candidates(study: str, storage: str) -> list[tuple[str, str]]:
    if study.endswith(STUDY_SUFFIXES) and Path(study).is_file():
        folder = Path(study).resolve().parent
        if (folder / "plan.json").exists():
            return [(str(folder.parent), folder.name)]
        from orchestrator.study.loading import load_study

        spec = load_study(Path(study)).spec
        return [(spec.storage, spec.name)]
    parent, _, name = study.rstrip("/").rpartition("/")
    found = [(parent or ".", name)]
    return found if "://" in study else [*found, (storage, study)]


def _only_study(storage: str) -> tuple[str, str]:
    from orchestrator.record.storage import Storage

    names = [
        entry.name for entry in Storage.open(storage).list() if entry.is_dir and _is_study(storage, entry)
    ]
    if len(names) == 1:
        return storage, names[0]
    message = (
        "no study is recorded there" if not names else f"several studies are recorded: {', '.join(names)}"
    )
    raise InputError(Fault(message, field="--storage", value=storage, hint=HINT))


def _is_study(storage: str, entry: Stored) -> bool:
    try:
        return _run(storage, entry.name) is not None
    except UnreadableRecord:  # it is one that could be meant
        return True


def _run(parent: str, name: str) -> OpenedStudy | None:
    from orchestrator.record.layout import StudyPaths
    from orchestrator.record.storage import Storage

    if not _is_name(name):
        return None
    storage, paths = Storage.open(parent), StudyPaths(name)
    return OpenedStudy(storage, paths) if storage.exists(paths.plan_json) else None


def _is_name(name: str) -> bool:
    return bool(name) and name[0] != "/" and "\0" not in name and not {".", ".."} & set(name.split("/"))
