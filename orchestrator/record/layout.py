"""Where everything lies. Every path of a study comes from here: posix strings relative to the storage root.

<study>/
  study.yaml  plan.json  env.json  code.tar.gz  check.json  journal.jsonl
  trace.json.gz  trace/   with `ablate --trace`: for Perfetto, and the spans that it is drawn of
  control/            lease.json, progress.json, snapshot.jsonl and the requests of other processes
  trials/<arm>/seed-<n>[/sample-<m>]/
                      log.txt, metrics.*, scores.*, checkpoints/; files/: what the trial wrote where it worked
  results.parquet  results.csv  effects.json  report.md  report.html  table.tex  methods.tex  references.bib
  figures/
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote

_TRIALS = "trials"
PLACES = ".places"
"""Beside the studies: where their trials work, <study>/<cell>, until they end."""


@lru_cache(maxsize=4096)
def safe_name(name: str) -> str:
    """`name` as one path component: readable, reversible, never empty, hidden, `.` or `..`."""
    quoted = quote(name, safe="=+-_,.@ ").replace(" ", "%20")
    quoted = re.sub(r"^\.", "%2E", quoted)
    return quoted or "%"


def checkpoint_name(step: int, attempt: int = 1, *, later: bool = False) -> str:
    """`step-00000120`, of later attempts `step-00000120.a2`: no two attempts write the same one.

    `later`: left after the report at that step, and before the next one; in order it comes behind.
    """
    return f"step-{step:08d}{'.later' if later else ''}{_of_attempt(attempt)}"


def _of_attempt(attempt: int) -> str:
    return "" if attempt == 1 else f".a{attempt}"


def trial_folder(arm: str, seed: int, sample: int | None = None, phase: str = "fixed") -> str:
    """`trials/<arm>/seed-<n>[/sample-<m>]`; phases other than fixed and tune are named in the path."""
    leaf = f"seed-{seed}" if phase in ("fixed", "tune") else f"{safe_name(phase)}-seed-{seed}"
    tail = "" if sample is None else f"/sample-{sample}"
    return f"{_TRIALS}/{safe_name(arm)}/{leaf}{tail}"


@dataclass(frozen=True)
class TablePaths:
    """One table of one attempt: lines while it runs, Parquet when it is over."""

    jsonl: str
    parquet: str


class _Below:
    """A path below `root`, by its name there."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, paths: TrialPaths | StudyPaths, owner: type) -> str:
        return f"{paths.root}/{self._name}"


@dataclass(frozen=True)
class TrialPaths:
    """The files of one trial; TensorBoard reads `root`."""

    root: str
    trial_json = _Below("trial.json")
    attempts_dir = _Below("attempts")
    checkpoints_dir = _Below("checkpoints")

    def attempt_json(self, attempt: int) -> str:
        """Return what an attempt took over when it began."""
        return f"{self.attempts_dir}/{attempt:05d}.json"

    def table(self, name: str, attempt: int = 1) -> TablePaths:
        """`metrics`, `steps` or `observations`; what is not the first attempt's own has its number."""
        stem = f"{self.root}/{name}{_of_attempt(attempt)}"
        return TablePaths(f"{stem}.jsonl", f"{stem}.parquet")

    def scores(self, attempt: int = 1) -> str:
        """Return the scores of the samples; what is not the first attempt's own has its number."""
        return f"{self.root}/scores{_of_attempt(attempt)}.parquet"

    def checkpoint(self, name: str) -> str:
        return f"{self.checkpoints_dir}/{name}"

    def manifest(self, name: str) -> str:
        """Return what says that a checkpoint is complete, and what it holds; it lies beside it."""
        return f"{self.checkpoint(name)}.json"

    def checkpoint_scores(self, name: str) -> str:
        """Return the scores of the samples as they were at a checkpoint; they lie beside it."""
        return f"{self.checkpoint(name)}.scores.parquet"

    def files(self, attempt: int = 1) -> str:
        """Return where that goes which the trial has written in its working directory."""
        return f"{self.root}/files{_of_attempt(attempt)}"

    def log(self, rank: int = 0) -> str:
        """`log.txt` of rank 0, `log-rank<k>.txt` of the others."""
        return f"{self.root}/log.txt" if rank == 0 else f"{self.root}/log-rank{rank}.txt"


@dataclass(frozen=True)
class StudyPaths:
    """The files of one study; `root` is the study's directory below the storage root.

    `check_json`: what the gates before the first trial found, and of which code and config.
    """

    root: str
    study_yaml = _Below("study.yaml")
    plan_json = _Below("plan.json")
    env_json = _Below("env.json")
    code_archive = _Below("code.tar.gz")
    check_json = _Below("check.json")
    journal = _Below("journal.jsonl")
    control_dir = _Below("control")
    lease = _Below("control/lease.json")
    progress = _Below("control/progress.json")
    snapshot = _Below("control/snapshot.jsonl")
    trials_dir = _Below(_TRIALS)
    spans_dir = _Below("trace")
    trace = _Below("trace.json.gz")
    results_parquet = _Below("results.parquet")
    results_csv = _Below("results.csv")
    effects_json = _Below("effects.json")
    report_md = _Below("report.md")
    report_html = _Below("report.html")
    table_tex = _Below("table.tex")
    slim_tex = _Below("table-slim.tex")
    methods_tex = _Below("methods.tex")
    references_bib = _Below("references.bib")

    @classmethod
    def of(cls, study: str) -> StudyPaths:
        """Return the paths of the study with this name."""
        return cls(safe_name(study))

    def changed_code_archive(self, code_hash: str) -> str:
        """Code that was accepted in place of the first one."""
        return f"{self.root}/code-{code_hash[:12]}.tar.gz"

    def spans(self, driver: int) -> str:
        """Return where a driver keeps the spans of `ablate --trace`."""
        return f"{self.spans_dir}/driver-{driver}.jsonl"

    def figure(self, name: str) -> str:
        """Return a figure of the report by its file name."""
        return f"{self.root}/figures/{name}"

    def trial_dir(self, arm: str, seed: int, sample: int | None = None, phase: str = "fixed") -> str:
        """Return the directory of one trial; see `trial_folder`."""
        return f"{self.root}/{trial_folder(arm, seed, sample, phase)}"

    def trial(self, arm: str, seed: int, sample: int | None = None, phase: str = "fixed") -> TrialPaths:
        """Return the files of one trial."""
        return TrialPaths(self.trial_dir(arm, seed, sample, phase))
