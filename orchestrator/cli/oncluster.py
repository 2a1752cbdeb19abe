"""What verbs do with `--cluster`: the study runs as a job on the head; other verbs run there, over SSH."""

from __future__ import annotations

import base64
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from orchestrator.api.recorded import STUDY_SUFFIXES
from orchestrator.cli import console
from orchestrator.errors import ClusterUnavailable, ExitCode, Fault, InputError

if TYPE_CHECKING:
    from orchestrator.remote.cluster import Cluster
    from orchestrator.remote.jobs import Order
    from orchestrator.remote.ssh import Host
    from orchestrator.study.loading import LoadedStudy

ClusterOption = Annotated[
    Path | None,
    typer.Option("--cluster", metavar="FILE", help="On the cluster of this file.", show_default=False),
]
FETCHED_TO = Path("reports")
REPORT_FILES = (
    *("report.html", "report.md", "effects.json", "table.tex", "table-slim.tex"),
    *("methods.tex", "references.bib"),
    *("results.csv", "results.parquet"),
)


def open_cluster(path: Path) -> Cluster:
    """Read the cluster file; starts nothing."""
    from orchestrator.remote.cluster import Cluster
    from orchestrator.remote.clusterfile import read_cluster_file

    return Cluster(read_cluster_file(path))


# -- ablate --------------------------------------------------------------------------------------------------


def ablate(
    config: Path,
    overrides: Sequence[str],
    cluster_file: Path,
    *,
    flags: Sequence[str],
    detach: bool,
    as_json: bool,
    dry_run: bool,
) -> None:
    """Run a study on a cluster as a job that outlives this command; the same command again follows it.

    Raises:
        InputError: study or cluster file, or a storage that cannot be shared. Nothing was started.
        StorageUnavailable: a storage that is not shared by all live hosts. The study was not started.
        ClusterUnavailable: the cluster did not come up, or its head went away.
        StudyHeld: the study runs there with other settings.
        typer.Exit: with the exit code of the study.
    """
    from orchestrator.remote.jobs import ship, start

    cluster = open_cluster(cluster_file)
    order = make_order(config, overrides, cluster, flags=flags, as_json=as_json)
    if dry_run:
        folder = ship(cluster, order.parcel)
        words = [*order.words, "--dry-run"]
        raise typer.Exit(run_there(cluster, words, f"{folder}/{order.parcel.folder}"))
    submission, is_new = start(cluster, order, _bring_up(cluster))
    how = "started" if is_new else "is running already"
    console.progress(f"{order.study} {how} on {cluster.file.name} (job {submission})")
    again = shlex.join(["--config", str(config), *overrides, "--cluster", str(cluster_file)])
    leaving = (
        f"the study goes on without this command\nfollow:  orchestrate ablate {again}\n"
        f"stop:    orchestrate stop {order.study} --cluster {cluster_file}"
    )
    if detach:
        console.progress(leaving)
        return
    _follow(cluster, order, submission, again=not is_new, leaving=leaving)


def make_order(
    config: Path, overrides: Sequence[str], cluster: Cluster, *, flags: Sequence[str], as_json: bool
) -> Order:
    """Check the study as far as that goes without the cluster, choose its storage, and pack its code."""
    from orchestrator.remote.jobs import Order, config_from_here, study_files
    from orchestrator.remote.sharedstorage import refuse_unshared
    from orchestrator.remote.shipping import pack
    from orchestrator.study.cells import make_plan
    from orchestrator.study.loading import load_study

    loaded = load_study(config, list(overrides), cwd=Path.cwd())
    make_plan(loaded.spec, loaded.arms)
    assert loaded.entrypoint is not None  # `cwd` asks for it
    words = list(overrides)
    storage = _storage_of(loaded, overrides, cluster)
    if storage is not None:
        words.append(f"storage={storage}")
        console.progress(f"storage: {storage} (provider.storage of {cluster.file.path})")
    else:
        storage = loaded.spec.storage
        refuse_unshared(storage, config, overrides)
    return Order(
        study=loaded.spec.name,
        storage=storage,
        parcel=pack(loaded.spec, loaded.entrypoint, study_files(config), Path.cwd(), [FETCHED_TO]),
        config=config_from_here(config, Path.cwd()),
        cluster=str(cluster.file.path),
        overrides=tuple(words),
        flags=tuple(flags),
        as_json=as_json,
    )


def _storage_of(loaded: LoadedStudy, overrides: Sequence[str], cluster: Cluster) -> str | None:
    """Return the cluster's storage where the study names none that several machines can have; else None."""
    from orchestrator.remote.clusterfile import unshared

    said_here = any(override.partition("=")[0].strip() == "storage" for override in overrides)
    if said_here or cluster.file.storage is None or unshared(loaded.spec.storage) is None:
        return None
    return cluster.file.storage


def _bring_up(cluster: Cluster) -> list[Host]:
    """Start the cluster where it is down, and count it.

    Returns its live hosts, the head first; none where a cloud has them.
    """
    from orchestrator.remote.launch import current_roll, up

    roll, reasons = current_roll(cluster), dict[str, str]()
    if not roll.up:
        roll, reasons = up(cluster, console.progress)
    if not roll.up:
        raise ClusterUnavailable(f"{cluster.file.name} did not come up: {roll.said}")
    console.progress(f"{cluster.file.name}: {roll.words}")
    for host, reason in reasons.items():
        console.progress(f"missing: {host}: {reason}")
    if not cluster.file.is_local:
        return []
    return [host for host in cluster.hosts if host.address not in roll.missing]


def _follow(cluster: Cluster, order: Order, submission: str, *, again: bool, leaving: str) -> None:
    from orchestrator.remote.jobs import LINES_ON_RETURN, Follower

    follower = Follower(cluster, submission, _show, console.progress, -LINES_ON_RETURN if again else 0)
    try:
        exit_code, words = follower.run()
    except KeyboardInterrupt:
        console.progress(leaving)
        raise typer.Exit(int(ExitCode.INTERRUPTED)) from None
    if words:
        console.progress(words)
    try:
        sys.stdout.write(cluster.ask_head("output", submission=submission)["text"])
        fetch(cluster, order.entry()["root"])
    except ClusterUnavailable as error:  # the study has ended, and how is known
        console.progress(f"the report did not come here: {error}")
    if exit_code is not ExitCode.DONE:
        raise typer.Exit(int(exit_code))


def _show(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


# -- the other verbs -----------------------------------------------------------------------------------------


def given(storage: str) -> str | None:
    """Return what `--storage` says; None for its default, a directory of this machine."""
    return None if storage == "runs" else storage


def verb(
    cluster_file: Path,
    words: Sequence[str],
    study: str | None,
    storage: str | None,
    forward: int | None = None,
) -> NoReturn:
    """Run a verb on the head with `STUDY` in `words` replaced by the run directory that is meant.

    `forward` is a port of the head's loopback that is reached under the same number here meanwhile.

    Raises `typer.Exit` with its exit code.
    """
    cluster = open_cluster(cluster_file)
    root, folder = find_there(cluster, study, storage)
    words = [root if word == STUDY else word for word in words]
    raise typer.Exit(run_there(cluster, words, folder, forward))


STUDY = "\0study"
"""Stands for the study among the words of a command, which cannot hold such a character."""


def find_there(cluster: Cluster, study: str | None, storage: str | None) -> tuple[str, str]:
    """(run directory, directory to run in) of a study on the cluster; the newest one when none is named.

    Raises:
        InputError: no study was ever submitted to this head, and none is named.
    """
    known: list[dict[str, Any]] = cluster.ask_head("studies")
    name = _name_of(study)
    if name is not None and "/" in name:
        return name, "~"
    if name is None and not known:
        hint = "name its run directory on the cluster"
        message = "no study was started from here on this cluster"
        raise InputError(Fault(message, value=cluster.file.name, hint=hint))
    for entry in known:
        if name is None or (entry["study"] == name and storage in (None, entry["storage"])):
            return entry["root"], f"{entry['directory']}/{entry['folder']}"
    where = storage or cluster.file.storage
    if where is None:
        names = ", ".join(entry["study"] for entry in known) or "none"
        hint = f"started from here: {names}; or name its run directory, or --storage"
        raise InputError(Fault("the cluster knows no such study", field="STUDY", value=name, hint=hint))
    return f"{where.rstrip('/')}/{name}", "~"


def _name_of(study: str | None) -> str | None:
    """Return the study's name, where a study file on this machine stands for it."""
    if study is not None and study.endswith(STUDY_SUFFIXES) and Path(study).is_file():
        from orchestrator.study.loading import load_study

        return load_study(Path(study)).spec.name
    return study


def run_there(cluster: Cluster, words: Sequence[str], folder: str, forward: int | None = None) -> int:
    """Run `orchestrate` on the head with this process's streams; returns its exit code."""
    python = '"$(command -v python3 || command -v python)"'
    where = f"~{shlex.quote(folder[1:])}" if folder.startswith("~") else shlex.quote(folder)
    command = f"cd {where} 2>/dev/null; exec {python} -m orchestrator {shlex.join(words)}"
    terminal = sys.stdout.isatty() and sys.stdin.isatty()
    return cluster.head.hand_over(command, terminal=terminal or forward is not None, forward=forward)


def report(
    cluster_file: Path, study: str | None, other: str | None, storage: str | None, words: Sequence[str]
) -> NoReturn:
    """Print a study's report as the head computes it, and bring every form of it to this machine; two studies
    are only printed.

    Raises `typer.Exit` with the report's exit code.
    """
    cluster = open_cluster(cluster_file)
    root, folder = find_there(cluster, study, storage)
    if other is not None:
        second, _ = find_there(cluster, other, storage)
        raise typer.Exit(run_there(cluster, ["report", root, second, *words], folder))
    code = run_there(cluster, ["report", root, *words, "--write"], folder)
    if code in (int(ExitCode.DONE), int(ExitCode.FAILED)):
        fetch(cluster, root)
    raise typer.Exit(code)


def fetch(cluster: Cluster, root: str) -> None:
    """Copy the report's files to `reports/<study>` here."""
    files = cluster.head.ask("onhost", "fetch", {"root": root, "names": REPORT_FILES})
    target = FETCHED_TO / Path(root).name
    for name, content in files.items():
        path = target / name
        if ".." in Path(name).parts or Path(name).is_absolute():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(content))
    if files:
        page = next(name for name in files if name.startswith("report") or len(files) == 1)
        console.progress(f"fetched: {target / page}")
