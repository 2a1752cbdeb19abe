"""The gates of a study: what they are asked, their answers as they come, and the page of them."""

from __future__ import annotations

import base64
import importlib.util
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from orchestrator.errors import Fault, InputError
from orchestrator.training.gates.results import (
    GATE_NUMBERS,
    ArmToCheck,
    CheckReport,
    CheckRequest,
    GateResult,
)
from orchestrator.training.settings import loaders

if TYPE_CHECKING:
    from orchestrator.api.study import Study
    from orchestrator.study.designs import Arm
    from orchestrator.study.spec import StudySpec

Job = Literal["check", "lr-find", "profile"]


def request_of(study: Study, only: Sequence[str] = ()) -> CheckRequest:
    """Return the study's arms under its first seed.

    Args:
        study: the study.
        only: numbers of gates, such as `A6`; none: all.

    Raises:
        InputError: there is no such gate.
    """
    unknown = [number for number in only if number not in GATE_NUMBERS]
    if unknown:
        valid = f"valid: {', '.join(GATE_NUMBERS)}"
        raise InputError(
            [Fault("there is no such gate", field="--gate", value=n, hint=valid) for n in unknown]
        )
    spec = study.spec
    return CheckRequest(
        entrypoint=spec.code,
        root=str(study.entrypoint.root),
        seed=spec.seeds[0],
        metrics=(spec.metric.name, *spec.metric.also),
        arms=tuple(_arm(spec, arm) for arm in study.plan.arms),
        only=tuple(only),
        datamodule=spec.datamodule,
        loader_workers=loaders(spec.resources.cpus_per_worker),
    )


def _arm(spec: StudySpec, arm: Arm) -> ArmToCheck:
    names = arm.parts or ((arm.component,) if arm.component else ())
    after = [spec.components[name].acts_after for name in names]
    earliest = min((steps for steps in after if steps is not None), default=None)
    return ArmToCheck(arm.name, arm.config, arm.set, None if None in after else earliest)


def check(study: Study, gates: Sequence[str], out: Path | None) -> CheckReport:
    """Ask the gates of `check`; see `Study.check`."""
    request = request_of(study, gates)
    folder = None if out is None else folder_for(study, out)
    report = climb(study, "check", request)
    if folder is not None:
        write(report, folder, "check")
    return report


def climb(
    study: Study, job: Job, request: CheckRequest, tell: Callable[[GateResult], None] | None = None
) -> CheckReport:
    """Run the gates of a job in a process of its own; `tell` is called with each answer as it comes.

    Raises:
        StudyError: the entrypoint does not import.
    """
    from orchestrator.engine.checks import run_gates

    start = time.perf_counter()
    gates: list[GateResult] = []
    for gate in run_gates(request, job, threads=max(1, int(study.spec.resources.cpus_per_worker))):
        gates.append(gate)
        if tell is not None:
            tell(gate)
    return CheckReport(study.name, str(study.spec.entrypoint), tuple(gates), time.perf_counter() - start)


def folder_for(study: Study, out: Path) -> Path:
    """Return the folder of a study's checks, made. Raises InputError when it cannot be."""
    folder = out / study.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            Fault(f"cannot be written: {error.strerror}", field="--out", value=str(out / study.name))
        ) from None
    return folder


def write(report: CheckReport, folder: Path, job: str) -> str | None:
    """JSON, TensorBoard and the page; returns the page's path, None where its extra is missing."""
    from orchestrator.record.storage import Storage
    from orchestrator.record.tensorboard import EventFile

    (folder / f"{job}.json").write_text(json.dumps(report.to_json(), indent=1, ensure_ascii=False) + "\n")
    storage, now = Storage.open(str(folder)), time.time()
    events = EventFile(storage, f"tensorboard/{job}", 0)
    for gate in report.gates:
        events.text(f"check/{gate.gate}", f"**{gate.state}**: {gate.verdict.evidence}", 0, now)
        for picture in gate.verdict.pictures:
            events.png(f"check/{gate.gate}", base64.b64decode(picture.png), 0, now)
    events.close()
    if importlib.util.find_spec("jinja2") is None:
        return None
    from orchestrator.reporting.checkpage import to_html

    page = folder / f"{job}.html"
    page.write_text(to_html(report, job), encoding="utf-8")
    return str(page)
