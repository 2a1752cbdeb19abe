"""The trial that is running, for its own code: `report`, `report_scores`, `trial_dir` and `config`.

The same in a command, in a plain function and in a Task, and in a script that somebody starts by hand. A
command is told by its environment; where the code runs in a worker, the worker is asked.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.record.scores import Scores

TRIAL_DIR, CONFIG, REPORTS = "ORCHESTRATOR_TRIAL_DIR", "ORCHESTRATOR_CONFIG", "ORCHESTRATOR_REPORTS"
"""What the environment of a command says: its directory, a JSON file, and the file that reports go to."""
Report = Callable[[Mapping[str, Any], Path | None], None]


def report(metrics: Mapping[str, Any], checkpoint: str | os.PathLike[str] | None = None) -> None:
    """Report metrics of the running trial, as `ray.train.report` does.

    Outside of a trial the metrics are printed, as one line of JSON, and the checkpoint stays where it is. Of
    several processes of a command only the first one (RANK 0) reports.

    Args:
        metrics: names and numbers, with the study's metric, and `epoch` or `step` where the study counts in
            them.
        checkpoint: a directory or a file to go on from; it is copied before this returns.

    Raises:
        TypeError: a value that is no plain one.
        FileNotFoundError: there is no such checkpoint.
    """
    path = None if checkpoint is None else Path(checkpoint)
    if path is not None and not path.exists():
        raise FileNotFoundError(f"orchestrator.report: there is no checkpoint {path}")
    bound = _bound()
    if bound is not None:
        bound.report(metrics, path)
        return
    line = _line(metrics)
    if REPORTS in os.environ and os.environ.get("RANK", "0") == "0":
        _hand_over(Path(os.environ[REPORTS]), line, path)
    elif TRIAL_DIR not in os.environ:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def report_scores(ids: Iterable[Any], scores: Iterable[Any]) -> None:
    """Hand over the scores of the single samples that the study's metric is the mean of.

    Call it before the report that they belong to; those of the report that counts are kept. Of several ranks
    or processes the first one (RANK 0) is heard: gather all samples there. Outside of a trial the scores are
    checked, and that is all.

    Args:
        ids: what tells the samples apart, the same under every seed and in every arm: whole numbers or texts.
        scores: a finite number for each sample.

    Raises:
        ValueError: ids that are there twice, too few or too many scores, one that is not finite.
    """
    from orchestrator.record.scores import as_scores

    try:
        found = as_scores(ids, scores)
    except ValueError as error:
        raise ValueError(f"orchestrator.report_scores: {error}") from None
    bound = _bound()
    if bound is not None:
        bound.scores(found)
    elif REPORTS in os.environ and os.environ.get("RANK", "0") == "0":
        _waiting[:] = [_written(found, Path(os.environ[REPORTS]))]


def trial_dir() -> Path:
    """Return the running trial's own directory, for what it writes; outside of one, where we are."""
    bound = _bound()
    return bound.folder if bound is not None else Path(os.environ.get(TRIAL_DIR) or Path.cwd())


def config() -> dict[str, Any]:
    """Return the settings of the running trial, `seed` and `max_length` among them; {} outside of one."""
    bound = _bound()
    if bound is not None:
        return copy.deepcopy(dict(bound.config))
    if CONFIG not in os.environ:
        return {}
    found: dict[str, Any] = json.loads(Path(os.environ[CONFIG]).read_text(encoding="utf-8"))
    return found


# ---- inside a worker ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BoundTrial:
    """A trial that runs in this process. `report`: takes the metrics, and a checkpoint's path or None;
    `scores`: takes the scores of the samples.
    """

    report: Report
    scores: Callable[[Scores], None]
    config: Mapping[str, Any]
    folder: Path
    process: int = field(default_factory=os.getpid)


_trials: dict[int, BoundTrial] = {}
"""By the thread that runs each."""


@contextmanager
def running(trial: BoundTrial) -> Iterator[None]:
    """Let this thread be that trial's, and all that have none of their own where it is the only trial."""
    thread = threading.get_ident()
    before = _trials.get(thread)
    _trials[thread] = trial
    try:
        yield
    finally:
        if before is None:
            del _trials[thread]
        else:
            _trials[thread] = before


def _bound() -> BoundTrial | None:
    here = _trials.get(threading.get_ident())
    if here is None and len(_trials) == 1:
        (here,) = _trials.values()
    # a forked process, such as one that loads data, is not the trial's
    return here if here is not None and here.process == os.getpid() else None


# ---- from a command -------------------------------------------------------------------------------------


_waiting: list[Path] = []
"""Scores that wait for the report that they belong to."""


def scores_folder(reports: Path) -> Path:
    """Return where the scores of a command wait, whose reports go to this file."""
    return reports.with_name("scores")


def _written(scores: Scores, reports: Path) -> Path:
    from orchestrator.record.scores import packed

    folder = scores_folder(reports)
    folder.mkdir(parents=True, exist_ok=True)
    for old in _waiting:
        old.unlink(missing_ok=True)
    begun = folder / f"{os.getpid()}.begun"
    begun.write_bytes(packed(scores))
    return begun.replace(folder / f"{time.time_ns()}-{os.getpid()}.parquet")


def _line(metrics: Mapping[str, Any]) -> str:
    if not isinstance(metrics, Mapping):
        raise TypeError(
            f"orchestrator.report takes a dict of names and numbers, not {type(metrics).__name__}"
        )
    return json.dumps({str(name): value for name, value in metrics.items()}, default=_plain)


def _plain(value: Any) -> Any:
    """Return what stands for a value that JSON does not know."""
    kind = type(value)
    if kind.__module__.partition(".")[0] == "torch":
        raise TypeError("orchestrator.report: a value is a torch tensor; report .item() or a plain number")
    if hasattr(value, "tolist"):  # numpy's
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(
        f"orchestrator.report: a value is a {kind.__name__}; report numbers, texts or lists of them"
    )


def _hand_over(reports: Path, line: str, checkpoint: Path | None) -> None:
    reports.parent.mkdir(parents=True, exist_ok=True)
    copied = "null" if checkpoint is None else json.dumps(str(_copied(checkpoint, reports)))
    scores = json.dumps(str(_waiting.pop())) if _waiting else "null"
    said = f'{{"metrics": {line}, "checkpoint": {copied}, "scores": {scores}}}\n'.encode()
    stream = os.open(reports, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        while said:
            said = said[os.write(stream, said) :]
    finally:
        os.close(stream)


def _copied(checkpoint: Path, reports: Path) -> Path:
    """Return a directory with a copy: the script may write over its own at once."""
    given = reports.parent / "checkpoints"
    given.mkdir(exist_ok=True)
    number = 0
    while True:
        target = given / f"{os.getpid()}-{number}"
        try:
            target.mkdir()
            break
        except FileExistsError:
            number += 1
    if checkpoint.is_dir():
        shutil.copytree(checkpoint, target, dirs_exist_ok=True)
    else:
        shutil.copy2(checkpoint, target / checkpoint.name)
    return target
