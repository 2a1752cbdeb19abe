"""Runs on the head of the cluster, sent there over SSH as text: uses the cluster's own ray, nothing of ours.

`python - N onhead VERB QUESTION`: JSON in, lines of JSON behind a mark out. Studies are Ray jobs that are
named after them; what was submitted is also written below `~/.orchestrate`, so that it is known after a new
`ray up`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MARK = "orchestrate-answer:"
HOME = Path.home() / ".orchestrate"
OPEN = ("PENDING", "RUNNING")
TELLING = ("error", "fail", "refused", "denied", "timed out", "unreachable", "no route", "not found")
LAUNCHER_LOGS = "/tmp/ray/session_latest/logs"  # noqa: S108 - Ray's own place
CLUSTER_FILE = "ORCHESTRATE_CLUSTER_FILE"
METADATA = "orchestrate_"
POLL_S = 0.5
LOOK_S = 2.0
PIECE = 1 << 16


def nodes(question: Mapping[str, Any]) -> dict[str, Any]:
    """`{up, said, nodes: [{ip, name, head, alive, resources}], addresses: {host: [ip]}}`."""
    from ray.util.state import list_nodes

    answer: dict[str, Any] = {
        "up": False,
        "said": f"nothing listens at {question['dashboard']}",
        "addresses": {host: _addresses(host) for host in question["hosts"]},
    }
    if not _listens(question["dashboard"]):
        return answer
    try:
        found = list_nodes(address=question["dashboard"], limit=10_000, timeout=20)
    except Exception as error:  # a dashboard without Ray behind it, or one that refuses our token
        return {**answer, "said": _one_line(error)}
    listed = [
        {
            "ip": node.node_ip,
            "name": node.node_name,
            "head": bool(node.is_head_node),
            "alive": node.state == "ALIVE",
            "resources": dict(node.resources_total or {}),
        }
        for node in found
    ]
    return {**answer, "up": True, "nodes": listed}


def _addresses(host: str) -> list[str]:
    try:
        return sorted({str(entry[4][0]) for entry in socket.getaddrinfo(host, None)})
    except OSError:
        return []


def _listens(dashboard: str) -> bool:
    host, _, port = dashboard.rpartition("//")[2].partition(":")
    try:
        socket.create_connection((host, int(port)), 5).close()
    except OSError:
        return False
    return True


def launcher(question: Mapping[str, Any]) -> dict[str, str]:
    """Return the last words of the cluster launcher about a host: why it did not start Ray there."""
    lines: list[str] = []
    for name in ("monitor.out", "monitor.err", "monitor.log"):
        with contextlib.suppress(OSError):
            text = (Path(LAUNCHER_LOGS) / name).read_text(errors="replace")
            lines += [line for line in text.splitlines() if question["host"] in line]
    telling = [line for line in lines if any(word in line.lower() for word in TELLING)]
    return {"said": " ".join(telling[-1].split())[:300] if telling else ""}


# -- jobs ----------------------------------------------------------------------------------------------------


def _client(question: Mapping[str, Any]) -> Any:
    from ray.job_submission import JobSubmissionClient

    return JobSubmissionClient(question["dashboard"])


def jobs(question: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the jobs that are studies of ours, the newest first."""
    found = [_job(job) for job in _client(question).list_jobs() if METADATA + "study" in (job.metadata or {})]
    return sorted(found, key=lambda job: job["started"] or 0, reverse=True)


def _job(job: Any) -> dict[str, Any]:
    status = getattr(job.status, "value", job.status)
    return {
        **{key.removeprefix(METADATA): value for key, value in job.metadata.items()},
        "submission": job.submission_id,
        "status": status,
        "open": status in OPEN,
        "started": job.start_time,
        "code": job.driver_exit_code,
        "message": job.message,
    }


def submit(question: Mapping[str, Any]) -> dict[str, str]:
    """Start the study as a job; returns how it is known."""
    entry, name = question["entry"], question["submission"]
    folder = Path(entry["directory"]).expanduser() / entry["folder"]
    words = shlex.join([sys.executable, "-m", "orchestrator", *question["words"]])
    out, log = _output(name)
    out.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in (out, log):
        path.touch(mode=0o600)
    script = (
        f"export {CLUSTER_FILE}={shlex.quote(entry['cluster'])}; cd {shlex.quote(str(folder))} && "
        f"exec {words} > >(tee {shlex.quote(str(out))}) 2> >(tee {shlex.quote(str(log))} >&2)"
    )
    _remember({**entry, "submission": name, "submitted": time.time()})
    _client(question).submit_job(
        entrypoint=f"bash -c {shlex.quote(script)}",
        submission_id=name,
        metadata={METADATA + key: str(value) for key, value in entry.items()},
    )
    return {"submission": name}


def _output(submission: str) -> tuple[Path, Path]:
    """Return (what the study's command prints on stdout, on stderr)."""
    folder = HOME / "jobs"
    return folder / f"{submission}.out", folder / f"{submission}.log"


def follow(question: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the job writes to stderr from `offset` on, as it comes, then how it ended.

    A negative `offset` stands for that many lines before the end.
    """
    client, name = _client(question), question["submission"]
    offset, last_look, job = int(question["offset"]), 0.0, None
    log = _output(name)[1]
    if offset < 0:
        offset = _tail_start(log, -offset)
    while True:
        text, offset = _grown(log, offset)
        if text:
            reply({"text": text, "offset": offset})
            continue
        if job is not None and not job["open"]:
            return {"ended": job, "offset": offset}
        if time.monotonic() - last_look > LOOK_S:
            job, last_look = _job(client.get_job_info(name)), time.monotonic()
        time.sleep(POLL_S)


def _grown(path: Path, offset: int) -> tuple[str, int]:
    """Whole lines from `offset` on, at most a piece, and where they end."""
    try:
        with path.open("rb") as stream:
            stream.seek(offset)
            data = stream.read(PIECE)
    except FileNotFoundError:
        return "", offset
    whole = data[: data.rfind(b"\n") + 1] or (data if len(data) == PIECE else b"")
    return whole.decode("utf-8", errors="replace"), offset + len(whole)


def _tail_start(path: Path, lines: int) -> int:
    """Where the last `lines` lines begin."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return 0
    return len(data) - sum(map(len, data.splitlines(keepends=True)[-lines:]))


def output(question: Mapping[str, Any]) -> dict[str, str]:
    """Return what the study's command has written to stdout."""
    return {"text": _output(question["submission"])[0].read_text(encoding="utf-8", errors="replace")}


# -- what was submitted --------------------------------------------------------------------------------------


def _remember(entry: Mapping[str, Any]) -> None:
    folder = HOME / "studies"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = folder / f".{entry['file']}.{os.getpid()}"
    part.write_text(json.dumps(entry), encoding="utf-8")
    part.replace(folder / f"{entry['file']}.json")


def studies(question: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every study that was started on this head, the newest first."""
    del question
    found = [json.loads(path.read_text(encoding="utf-8")) for path in (HOME / "studies").glob("*.json")]
    return sorted(found, key=lambda entry: float(entry["submitted"]), reverse=True)


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]


def reply(answer: Any) -> None:
    """One line of an answer, at once."""
    sys.stdout.write(MARK + json.dumps({"answer": answer}) + "\n")
    sys.stdout.flush()


VERBS = {verb.__name__: verb for verb in (nodes, launcher, jobs, submit, follow, output, studies)}


def main(verb: str, question: Mapping[str, Any]) -> None:
    """Answer one question on stdout; an error is an answer, too."""
    try:
        reply(VERBS[verb](question))
    except Exception as error:  # the laptop raises it
        sys.stdout.write(MARK + json.dumps({"error": _one_line(error)}) + "\n")


if __name__ == "__main__":
    main(sys.argv[3], json.loads(sys.argv[4]))
