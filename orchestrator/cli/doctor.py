"""`orchestrate doctor`: is this machine fit to run a study? Starts nothing."""

from __future__ import annotations

import os
import resource
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from orchestrator.api.machine import Machine
from orchestrator.cli import console, oncluster
from orchestrator.cli.oncluster import ClusterOption, given
from orchestrator.cli.options import AddressOption, JsonOption, StorageOption, study_of
from orchestrator.engine import gateway, ray_private
from orchestrator.errors import ClusterUnavailable, ExitCode, Fault, InputError, OrchestratorError

if TYPE_CHECKING:
    from orchestrator.api.study import Study
    from orchestrator.remote.diagnosis import HostFinding

State = Literal["ok", "warn", "fail"]
TESTED = {"ray": ray_private.TESTED, "torch": ("2.13.0",)}
"""What the tests ran with; `constraints.txt` has the whole set."""
GIB = 2**30
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - only looked at


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `fail`: a study cannot run; `warn`: it may suffer."""

    name: str
    state: State
    detail: str
    hint: str | None = None

    @property
    def line(self) -> str:
        """One line for people."""
        hint = f"; {self.hint}" if self.hint else ""
        return f"{self.state:<5} {self.name:<12} {self.detail}{hint}"


def command(
    storage: StorageOption = "runs",
    address: AddressOption = None,
    as_json: JsonOption = False,
    cluster: ClusterOption = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", "-c", metavar="FILE", help="Of this study, too: its command.", show_default=False
        ),
    ] = None,
    notify: Annotated[
        bool, typer.Option("--notify", help="With --config: send a test message to those it names.")
    ] = False,
) -> None:
    """Is this machine fit for a study?

    Versions, processors, memory, disk, limits, storage, what keeps Ray from starting, other Ray clusters.
    Starts nothing. With --address: whether that cluster answers, and takes our token. With --cluster: every
    host of the cluster, whether its Ray is up or down. With --config: the command of a study too, and who has
    its program: this machine, or every host of the cluster.
    """
    if notify and config is None:
        raise InputError(Fault("tells those whom a study names", field="--notify", hint="add --config FILE"))
    about, program = ([], None) if config is None else _study(config, here=cluster is None, notify=notify)
    if cluster is not None:
        _cluster(cluster, given(storage), about, program, as_json=as_json)
        return
    findings = [*examine(storage, address), *about]
    _tell(findings, as_json=as_json)


def _tell(findings: Sequence[Finding | HostFinding], *, as_json: bool, closing: Sequence[str] = ()) -> None:
    """One line for each; exit code 4 where one of them keeps a study from running."""
    if as_json:
        console.data_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            console.data(finding.line)
        for line in closing:
            console.progress(line)
    if any(finding.state == "fail" for finding in findings):
        raise typer.Exit(int(ExitCode.UNAVAILABLE))


def _study(config: Path, *, here: bool, notify: bool) -> tuple[list[Finding], str | None]:
    """Look at a study's file and its command; returns also the program that nodes have to have.

    `here`: this machine has to have it; `notify`: those whom the study names get a test message.
    """
    from orchestrator.api import describe
    from orchestrator.study.command import CommandSpec
    from orchestrator.study.program import found_as, program_of

    try:
        study = study_of(config, [])
    except OrchestratorError as error:
        return [Finding("study", "fail", "; ".join(console.error_lines(error)))], None
    entrypoint, messages = study.spec.entrypoint, list(_messages(study, notify))
    if not isinstance(entrypoint, CommandSpec):
        return [Finding("study", "ok", f"{config}: {entrypoint}"), *messages], None
    program, told = program_of(entrypoint), describe.command(study.spec, study.plan)
    missing = here and program is not None and found_as(program) is None
    states: dict[str, State] = {"program": "fail" if missing else "ok", "unheard": "warn"}
    found = [Finding(name, states.get(name, "ok"), line) for name, line in told.items()]
    return [*found, *messages], program


def _messages(study: Study, send: bool) -> Iterator[Finding]:
    """Tell who hears of a study; with `send` they get a test message. No trouble keeps it from running."""
    from orchestrator.api import describe
    from orchestrator.api.notifying import try_out
    from orchestrator.study.notify import lacking_variables

    if study.spec.notify is None:
        if send:
            hint = "for example notify: {command: mail-me}"
            yield Finding("notify", "warn", "the study names nobody", hint)
        return
    if not send:
        lacks = lacking_variables(study.spec.notify, os.environ)
        yield Finding("notify", "warn" if lacks else "ok", describe.notified(study.spec)["notify"])
        return
    for name, trouble in try_out(study):
        told = "a test message was delivered" if trouble is None else trouble
        yield Finding("notify", "ok" if trouble is None else "warn", f"{name}: {told}")


def _cluster(
    path: Path, storage: str | None, about: Sequence[Finding], program: str | None, *, as_json: bool
) -> None:
    """One line per host and check."""
    from orchestrator.remote.diagnosis import diagnose
    from orchestrator.remote.inspection import inspect_cluster

    there = oncluster.open_cluster(path)
    where = storage or there.file.storage
    findings: list[Finding | HostFinding] = [*diagnose(inspect_cluster(there, where, program)), *about]
    counts = {state: sum(finding.state == state for finding in findings) for state in ("fail", "warn")}
    closing = [f"{len(findings)} checks: {counts['fail']} failed, {counts['warn']} warnings"]
    if where is None:
        closing.append("the storage was not looked at: name it with --storage, or in the cluster file")
    _tell(findings, as_json=as_json, closing=closing)


def examine(storage: str, address: str | None = None) -> Iterator[Finding]:
    """Everything worth knowing before the first study, the most basic first."""
    yield _python()
    yield from _packages()
    machine = Machine.here()
    yield Finding("processors", "ok", f"{machine.cpus} CPUs, {machine.gpus} GPUs that this process may use")
    yield _memory()
    yield _free_space(SHARED_MEMORY, "shared mem", 1.0, "Ray's object store falls back to slow files")
    yield _free_space(str(gateway.temporary()), "temporary", 2.0, "Ray keeps its session files there")
    yield _open_files()
    yield from _storage(storage)
    yield from _start() if address is None else [_ray_token()]
    yield from _cluster_at(address)
    yield _other_ray()
    yield _studies()


def _enough(name: str, enough: bool, detail: str, hint: str) -> Finding:
    """Warn, with the hint, where there is too little of something."""
    return Finding(name, "ok" if enough else "warn", detail, None if enough else hint)


def _python() -> Finding:
    running = ".".join(map(str, sys.version_info[:3]))
    fits = sys.version_info >= (3, 11)
    return Finding("python", "ok" if fits else "fail", running, None if fits else "3.11 or newer is needed")


def _packages() -> Iterator[Finding]:
    from packaging.requirements import Requirement

    try:
        needed = [Requirement(line) for line in requires("orchestrator") or ()]
    except PackageNotFoundError:
        yield Finding("packages", "warn", "orchestrator is not installed", "pip install -e .")
        needed = []
    for requirement in needed:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            yield Finding(requirement.name, "fail", "not installed", "make install")
            continue
        tested = TESTED.get(requirement.name)
        if not requirement.specifier.contains(found, prereleases=True):
            yield Finding(requirement.name, "fail", found, f"{requirement.specifier} is needed: make install")
        elif tested is not None:
            same = found.partition("+")[0] in tested
            yield _enough(requirement.name, same, found, f"tested with {' and '.join(tested)}")


def _memory() -> Finding:
    free_gib = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIB
    total_gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIB
    detail = f"{total_gib:.1f} GiB, {free_gib:.1f} GiB unused"
    return _enough("memory", total_gib >= 4, detail, "4 GiB carry Ray and two trials at a time")


def _free_space(path: str, name: str, warn_gib: float, hint: str) -> Finding:
    try:
        free_gib = shutil.disk_usage(path).free / GIB
    except OSError as error:
        return Finding(name, "warn", f"{path}: {error.strerror}", hint)
    return _enough(name, free_gib >= warn_gib, f"{path}: {free_gib:.1f} GiB free", hint)


def _open_files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = soft == resource.RLIM_INFINITY or soft >= 4096
    hint = f"ulimit -n {'65536' if hard == resource.RLIM_INFINITY else hard}"
    return _enough("open files", enough, f"at most {soft} per process", hint)


def _storage(where: str) -> Iterator[Finding]:
    from orchestrator.record.storage import Storage

    try:
        storage = Storage.open(where)
        storage.check_writable()
    except OrchestratorError as error:
        yield Finding("storage", "fail", "; ".join(console.error_lines(error)))
        return
    yield Finding("storage", "ok", f"{storage.uri} can be written")
    if storage.is_local:
        there = next(path for path in [storage.local_path(), *storage.local_path().parents] if path.exists())
        yield _free_space(str(there), "disk", 5.0, "checkpoints need room; see checkpoint: in the study")


def _start() -> Iterator[Finding]:
    """Look for what is in the way of a Ray on this machine."""
    found = gateway.obstacles()
    for one in found:
        yield Finding(one.name, "fail" if one.fatal else "warn", one.what, one.way_out)
    if all(one.name != "ray token" for one in found):
        yield _ray_token()


def _ray_token() -> Finding:
    """Ray's token: on, and readable by its owner only. Which of Ray's variables say so: docs/security.md."""
    mode = os.environ.get(gateway.MODE, "").lower()
    if mode not in ("", "token"):
        hint = "unset it, or set it to token: others on the network could run code as you"
        return Finding("ray token", "fail", f"{gateway.MODE}={mode} turns authentication off", hint)
    if os.environ.get(gateway.TOKEN):
        return Finding("ray token", "ok", f"in {gateway.TOKEN}")
    path = gateway.token_file()
    if not path.is_file():
        return Finding("ray token", "ok", "none yet; Ray on this machine makes one, a cluster has its own")
    if path.stat().st_mode & 0o077:
        return Finding("ray token", "warn", f"{path} can be read by others", f"chmod 600 {path}")
    return Finding("ray token", "ok", str(path))


def _cluster_at(address: str | None) -> Iterator[Finding]:
    unused = gateway.ray_address_unused(address)
    if unused is not None:
        yield Finding("ray address", "ok", unused)
    if address is None:
        return
    try:
        gateway.refuse_strangers(address)
    except ClusterUnavailable as error:
        yield Finding("ray address", "fail", str(error))
        return
    warning = gateway.unprotected(address)
    yield Finding("ray address", "warn" if warning else "ok", warning or f"{address} answers")


def _studies() -> Finding:
    """Tell which studies of this user have what of this machine."""
    from orchestrator.engine.sharing import StudyRegister, in_words

    tenants = StudyRegister.here().tenants()
    if not tenants:
        return Finding("studies", "ok", "none of yours runs on this machine without --address")
    hint = "another one gets what is left, or waits; resources.max_parallel makes room"
    return Finding("studies", "ok", in_words(tenants), hint)


def _other_ray() -> Finding:
    """Clusters of others are only named: their processes are none of our business."""
    found = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            if path.read_text(encoding="utf-8").strip() == "gcs_server":
                found.append(path.parent.name)
        except OSError:
            continue  # it has ended meanwhile
    if not found:
        return Finding("other ray", "ok", "none runs on this machine")
    detail = f"{len(found)} running (gcs_server {', '.join(sorted(found))})"
    hint = "left alone; --address uses one of them, else another is started"
    return Finding("other ray", "ok", detail, hint)
