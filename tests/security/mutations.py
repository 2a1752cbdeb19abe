"""Run directories damaged in a drawn way, and every reader over them: no traceback, no hang, little memory.

    python tests/security/mutations.py --seed 1 --count 2000

Each is a copy of one of tests/fixtures/records with one to three mutations. What a reader may answer: its
exit codes, errors raised on purpose, and from the page 200 for the list of all studies.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from fastapi.testclient import TestClient

from orchestrator.api.recorded import open_study
from orchestrator.cli.app import main
from orchestrator.errors import OrchestratorError
from orchestrator.record.storage import Storage
from orchestrator.web.answers import Site
from orchestrator.web.app import make_app
from orchestrator.web.children import ChildProcesses
from orchestrator.web.guard import Sessions

RECORDS = Path(__file__).parents[1] / "fixtures" / "records"
LONGEST_S = 5.0
"""Of a processor: what others do on this machine is no hang."""
HANGS_S = 60.0
"""By the clock; longer where a processor was what it waited for."""
MOST_BYTES = 500_000_000
AT_ONCE = 100
"""Directories that one process reads."""
HOST = "127.0.0.1:8765"
VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        0,
        -1,
        3,
        2**62,
        10**400,
        0.5,
        -1e308,
        "nan",
        "inf",
        "",
        "x",
        "\x1b[2J",
        "\x00",
        "1e5",
        "é",
    ),
    *("a" * 10_000, [], [None], [[]], {}, {"x": {}}, ["x"] * 1000, "../../x", "/etc", "done", "baseline"),
)


# ---- what is done to a directory -------------------------------------------------------------------------


def flip(file: Path, draw: random.Random) -> None:
    """Change some bytes."""
    data = bytearray(file.read_bytes())
    for _ in range(draw.randint(1, 8)):
        if data:
            data[draw.randrange(len(data))] = draw.randrange(256)
    file.write_bytes(data)


def cut(file: Path, draw: random.Random) -> None:
    """End a file in its middle."""
    data = file.read_bytes()
    file.write_bytes(data[: draw.randint(0, len(data))])


def lines(file: Path, draw: random.Random) -> None:
    """Drop, repeat, swap or garble lines."""
    found = file.read_bytes().split(b"\n")
    for _ in range(draw.randint(1, 4)):
        here, there = draw.randrange(len(found)), draw.randrange(len(found))
        kind = draw.randrange(4)
        if kind == 0 and len(found) > 1:
            del found[here]
        elif kind == 1:
            found.insert(there, found[here])
        elif kind == 2:
            found[here], found[there] = found[there], found[here]
        else:
            found[here] = draw.choice([b"\xff\xfe", b"[" * 50_000, b"{}", b'"x"', b"\x00" * 100, b"}"])
    file.write_bytes(b"\n".join(found))


def types(file: Path, draw: random.Random) -> None:
    """Put another value, or none, at some place of a YAML or JSON file, or of one of its lines."""
    text = file.read_text(errors="replace")
    try:
        if file.suffix == ".yaml":
            file.write_text(yaml.safe_dump(changed(yaml.safe_load(text), draw), allow_unicode=True))
        elif ".jsonl" in file.name:
            found = text.split("\n")
            here = draw.randrange(max(1, len(found) - 1))
            found[here] = json.dumps(changed(json.loads(found[here]), draw))
            file.write_text("\n".join(found))
        else:
            file.write_text(json.dumps(changed(json.loads(text), draw)))
    except (ValueError, yaml.YAMLError, RecursionError):
        flip(file, draw)


def changed(value: Any, draw: random.Random) -> Any:
    """Return it with one change somewhere inside."""
    if isinstance(value, dict) and value and draw.random() < 0.9:
        key = draw.choice(list(value))
        if draw.random() < 0.1:
            return {name: item for name, item in value.items() if name != key}
        if draw.random() < 0.05:
            return {draw.choice(["x", "", "9" * 30]) if name == key else name: i for name, i in value.items()}
        return {**value, key: changed(value[key], draw)}
    if isinstance(value, list) and value and draw.random() < 0.9:
        at = draw.randrange(len(value))
        return [*value[:at], changed(value[at], draw), *value[at + 1 :]]
    return draw.choice(VALUES)


def exchange(file: Path, draw: random.Random) -> None:
    """Put something that is no such file into its place."""
    before = file.read_bytes()
    file.unlink()
    kind = draw.choice(
        ["pipe", "socket", "folder", "nowhere", "loop", "out", "within", "sparse", "gone", "up"]
    )
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as one, contextlib.suppress(OSError):
            one.bind(str(file))
    elif kind == "folder":
        file.mkdir()
    elif kind == "sparse":
        with file.open("wb") as stream:
            stream.truncate(draw.choice([6 << 20, 100 << 20, 1 << 40]))
    elif kind == "gone":
        pass
    elif kind == "within":
        aside = file.with_name("aside")
        aside.write_bytes(before)
        file.symlink_to(aside.name)
    else:
        links = {"nowhere": "nothing", "loop": file.name, "out": "/etc/passwd", "up": ".."}
        file.symlink_to(links[kind])


def bombs(file: Path, draw: random.Random) -> None:
    """Put in what grows when it is read."""
    kind = draw.randrange(4)
    if file.suffix == ".yaml":
        names = [f"a{n}" for n in range(12)]
        grows = [f"{name}: &{name} [{', '.join(['*' + before] * 9)}]" for before, name in pairwise(names)]
        text = "\n".join(["a0: &a0 [x]", *grows]) + "\n" + file.read_text(errors="replace")
        file.write_text(draw.choice([text, "x: " + "a" * 6_000_000, "[" * 20_000, "a: " + "[1," * 30_000]))
    elif kind == 0:
        file.write_text("[" * 100_000)
    elif kind == 1:
        file.write_text("[" + "{}," * 3_000_000 + "1]\n")
    elif kind == 2:
        file.write_bytes(file.read_bytes() + b'{"event":"note","text":"' + b"x" * (60 << 20) + b'"}\n')
    else:
        file.write_bytes(b"\n" * 3_000_000)


MUTATIONS: tuple[Callable[[Path, random.Random], None], ...] = (
    *(flip, cut, lines, lines, types, types, types, types, exchange, bombs),
)


def mutate(folder: Path, draw: random.Random) -> list[str]:
    """Damage a run directory; returns what was done."""
    done = []
    for _ in range(draw.choice([1, 1, 1, 2, 3])):
        files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
        main_ones = [path for path in files if path.parent == folder]
        file = draw.choice(main_ones if main_ones and draw.random() < 0.75 else files)
        how = draw.choice(MUTATIONS)
        if file.stat().st_size < 20 << 20:
            how(file, draw)
            done.append(f"{how.__name__} {file.relative_to(folder)}")
    return done


# ---- who reads it ----------------------------------------------------------------------------------------


def kept_waiting_s() -> float:
    """How long the threads of this process have waited for a processor."""
    waited_ns = 0
    for task in Path("/proc/self/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):  # a thread that has just ended
            waited_ns += int(task.read_text().split()[1])
    return waited_ns / 1e9


@contextlib.contextmanager
def in_time() -> Iterator[None]:
    """Raise where it takes longer."""
    waited_s = kept_waiting_s()

    def ring(number: int, _: object) -> None:
        nonlocal waited_s
        before, waited_s = waited_s, kept_waiting_s()
        if number == signal.SIGALRM and waited_s - before > HANGS_S / 4:
            signal.setitimer(signal.ITIMER_REAL, HANGS_S)
            return
        raise TimeoutError(f"more than {LONGEST_S if number == signal.SIGPROF else HANGS_S:g} s")

    clocks = (signal.ITIMER_PROF, signal.SIGPROF, LONGEST_S), (signal.ITIMER_REAL, signal.SIGALRM, HANGS_S)
    for clock, rings, seconds in clocks:
        signal.signal(rings, ring)
        signal.setitimer(clock, seconds)
    try:
        yield
    finally:
        for clock, _, _ in clocks:
            signal.setitimer(clock, 0)


def readers(storage: Path, name: str) -> Iterator[tuple[str, Callable[[], None]]]:
    """Every way to read a study, by its name; each raises where it answers wrongly."""
    where = str(storage / name)

    def command(*words: str) -> Callable[[], None]:
        def run() -> None:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                code = main(words)
            assert code in (0, 1, 2, 4), code

        return run

    def page() -> None:
        site = Site(
            ChildProcesses(storage.parent), Storage.open(storage), Sessions("token"), "127.0.0.1", 8765
        )
        client = TestClient(make_app(site), base_url=f"http://{HOST}{site.sessions.base}")
        client.get("/", params={"token": "token"})
        assert client.get("/").status_code == 200
        of_it = f"/studies/{name}/"
        trials = re.findall(r'href="(trial\?cell=[^"]+)"', client.get(of_it).text)[:1]
        figures = ("curves.json", "forest.json", "map.json")
        for path in ("", "files/", "files/effects.json", *figures, *trials):
            assert client.get(of_it + path).status_code < 500, path

    def python() -> None:
        run = open_study(where)
        for ask in (
            run.results,
            run.noise,
            lambda: run.metrics("baseline", 0),
            lambda: run.log("baseline", 0),
        ):
            with contextlib.suppress(OrchestratorError):
                ask()  # type: ignore[operator]

    yield "status", command("status", where, "--json")
    yield "status in words", command("status", where)
    yield "report", command("report", where, "--json")
    yield "logs", command("logs", "baseline", "0", "--study", where)
    yield "stop", command("stop", where)
    yield "page", page
    yield "python", python


def faults(seed: int, sources: list[Path], folder: Path) -> list[str]:
    """Damage one copy of a record and read it in every way; returns what went wrong."""
    draw = random.Random(seed)
    source = draw.choice(sources)
    study = folder / "runs" / "study"
    shutil.copytree(source, study)
    for path in (study, *study.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    found = []
    done = mutate(study, draw)
    gc.collect()  # what the directories before have left
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew: damaging may cost more than reading
    for name, read in readers(study.parent, "study"):
        began = time.monotonic()
        try:
            with in_time():
                read()
        except OrchestratorError:
            continue  # the Python interface raises it
        except BaseException as error:  # whatever it is, it is what we look for
            *_, before, last = (None, *traceback.extract_tb(error.__traceback__))
            last = before if before is not None and isinstance(error, TimeoutError) else last
            place = f"{Path(last.filename).name}:{last.lineno}"
            took = time.monotonic() - began
            found.append(
                f"{seed} {source.name} {done} {name} {took:.1f} s: {type(error).__name__} {error} {place}"
            )
    return found


def peak_bytes() -> int:
    """Return the most memory that this process has had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))


def in_parts(first: int, count: int) -> int:
    """Have processes of their own do it, one on each core; returns 1 where one has found a fault."""

    def part(seed: int) -> int:
        words = ["--seed", str(seed), "--count", str(min(AT_ONCE, first + count - seed))]
        return subprocess.run([sys.executable, __file__, *words], check=False).returncode

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return int(any(pool.map(part, range(first, first + count, AT_ONCE))))


def main_of_fuzz() -> int:
    """Return 1 where a directory was read wrongly; says which."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=2000)
    asked = parser.parse_args()
    if asked.count > AT_ONCE:
        return in_parts(asked.seed, asked.count)
    sources = sorted(RECORDS.iterdir())
    wrong, used, where = [], 0, 0
    for seed in range(asked.seed, asked.seed + asked.count):
        with tempfile.TemporaryDirectory() as folder:
            found = faults(seed, sources, Path(folder))
        used, where = max((used, where), (peak_bytes(), seed))
        for line in found:
            sys.stdout.write(line[:600] + "\n")
            sys.stdout.flush()
        wrong += found
    told = f"{asked.count} directories, {len(wrong)} faults, {used / 1e6:.0f} MB at most (seed {where})"
    sys.stdout.write(f"{told}\n")
    return int(bool(wrong) or used > MOST_BYTES)


if __name__ == "__main__":
    sys.exit(main_of_fuzz())
