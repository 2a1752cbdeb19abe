"""A trial's log file: what is kept, what is said about the rest, and that printing never hurts the trial."""

# ruff: noqa: T201 - printing is what these tests are about

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engine.workers._capture import CappedFile, TrialOutput


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "trial" / "log.txt"


def test_stdout_stderr_and_logging_arrive_in_order(log: Path) -> None:
    with TrialOutput(log):
        print("to stdout")
        print("to stderr", file=sys.stderr)
        logging.getLogger("user.code").warning("a log line")
        sys.stdout.buffer.write(b"bytes\n")
    lines = log.read_text().splitlines()
    assert lines[:3] == ["to stdout", "to stderr", "a log line"]
    assert lines[-1] == "bytes"


def test_basic_config_works_as_in_a_plain_script(log: Path) -> None:
    with TrialOutput(log):
        logging.basicConfig(level=logging.INFO, format="%(levelname)s|%(message)s")
        logging.info("hello")
        logging.captureWarnings(True)
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            warnings.warn("careful", UserWarning, stacklevel=1)
        logging.captureWarnings(False)
        logging.getLogger().setLevel(logging.WARNING)
    first, second, *_ = log.read_text().splitlines()
    assert first == "INFO|hello"
    assert "UserWarning: careful" in second


def test_handlers_of_libraries_follow_and_everything_is_put_back(log: Path) -> None:
    before = (sys.stdout, sys.stderr, logging.getLogger().handlers[:])
    handler = logging.StreamHandler(sys.stderr)
    library = logging.getLogger("some.library")
    library.addHandler(handler)
    library.propagate = False
    try:
        with TrialOutput(log):
            library.warning("from a library")
        assert handler.stream is before[1]
    finally:
        library.removeHandler(handler)
        library.propagate = True
    assert log.read_text() == "from a library\n"
    assert (sys.stdout, sys.stderr, logging.getLogger().handlers) == before
    assert "trial-output" not in {thread.name for thread in threading.enumerate()}


def test_short_output_is_kept_whole(log: Path) -> None:
    with TrialOutput(log, 1000) as output:
        for number in range(90):
            print(f"line {number:04}")
    assert log.read_text() == "".join(f"line {number:04}\n" for number in range(90))
    assert output.dropped_bytes == 0


def test_head_and_tail_are_kept_with_the_count_between(log: Path) -> None:
    lines = [f"line {number:06}\n" for number in range(10_000)]
    with TrialOutput(log, 1200) as output:
        for line in lines:
            print(line, end="")
    text = log.read_text()
    head, dropped, tail = re.split(r"\n\.\.\. ([\d,]+) bytes dropped \.\.\.\n", text)
    everything = "".join(lines)
    assert everything.startswith(head)
    assert everything.endswith(tail)
    assert len(head) + len(tail) + int(dropped.replace(",", "")) == len(everything)
    assert int(dropped.replace(",", "")) == output.dropped_bytes
    assert 590 < len(head) <= 600
    assert 580 < len(tail) <= 600
    assert head.endswith("\n")  # both cuts fall between lines
    assert tail.startswith("line ")


@pytest.mark.slow
@given(
    chunks=st.lists(st.binary(min_size=1, max_size=200).map(lambda b: b.replace(b".", b"-")), max_size=40),
    half=st.integers(1, 120),
)
def test_kept_plus_dropped_is_everything(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[bytes], half: int
) -> None:
    path = tmp_path_factory.mktemp("cap") / "log.txt"
    file = CappedFile(path, 2 * half, attempt=1)
    for chunk in chunks:
        file.append(chunk)
        assert path.stat().st_size <= 3 * half + 64
    file.close()
    everything, kept = b"".join(chunks), path.read_bytes()
    if not file.dropped_bytes:
        assert kept == everything
        assert len(kept) <= 2 * half
        return
    note = f"\n... {file.dropped_bytes:,} bytes dropped ...\n".encode()
    head, tail = kept.split(note)
    assert everything.startswith(head)
    assert everything.endswith(tail)
    assert len(head) + len(tail) + file.dropped_bytes == len(everything)
    assert len(head) <= half
    assert len(tail) <= half


def test_a_further_attempt_appends_under_a_header(log: Path) -> None:
    with TrialOutput(log):
        print("first", end="")
    with TrialOutput(log, attempt=2):
        print("second")
    assert re.fullmatch(
        r"first\n=== attempt 2, \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ===\nsecond\n", log.read_text()
    )


def test_a_second_attempt_keeps_the_whole_first_one(log: Path) -> None:
    for attempt in (1, 2):
        with TrialOutput(log, 400, attempt=attempt):
            print("\n".join(f"{attempt}:{number}" for number in range(1000)))
    text = log.read_text()
    assert text.count("bytes dropped") == 2
    assert "1:0\n" in text
    assert "1:999\n=== attempt 2" in text
    assert text.endswith("2:999\n")


def test_output_is_visible_before_the_end(log: Path) -> None:
    with TrialOutput(log) as output:
        print("one")
        output._write_pending()  # what the background thread does once a second
        assert log.read_text() == "one\n"


def test_many_threads_lose_no_line(log: Path) -> None:
    def chatter(name: int) -> None:
        for number in range(300):
            sys.stdout.write(f"{name} {number}\n")

    with TrialOutput(log):
        threads = [threading.Thread(target=chatter, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    expected = {f"{name} {number}" for name in range(4) for number in range(300)}
    assert sorted(log.read_text().splitlines()) == sorted(expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_forked_children_print_into_the_same_file(log: Path) -> None:
    with TrialOutput(log) as output:
        print("parent before")
        output._write_pending()
        child = os.fork()
        if child == 0:
            print("from", "child")
            print("unfinished", end="", flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        print("\nparent after")
    assert log.read_text() == "parent before\nfrom child\nunfinished\nparent after\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_noted_once_and_never_raises(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log.txt"
    log.symlink_to("/dev/full")
    with TrialOutput(log) as output:
        for _ in range(3):
            print("lost")
            output._write_pending()
    assert output.dropped_bytes == 15
    assert capsys.readouterr().err.count("cannot be written") == 1


def test_a_log_that_cannot_be_opened_is_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    with TrialOutput(tmp_path / "file" / "log.txt") as output:
        print("lost")
    assert output.dropped_bytes == 5
    assert "cannot be written" in capsys.readouterr().err


def test_streams_survive_what_scripts_do_to_them(log: Path) -> None:
    with TrialOutput(log):
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        assert not sys.stdout.isatty()
        with pytest.raises(OSError, match="fileno"):
            sys.stdout.fileno()
        print("lone surrogate \udc80 and é")
        sys.stderr.close()
        print("still here", file=sys.stderr)
        stream = sys.stdout
    stream.write("after the end\n")
    assert log.read_text() == "lone surrogate \\udc80 and é\nstill here\n"


def test_an_exception_passes_through(log: Path) -> None:
    with pytest.raises(KeyError), TrialOutput(log):
        print({}[print("before")])
    assert log.read_text() == "before\n"


def test_secrets_of_the_environment_do_not_reach_the_log(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "hunter2-very-secret")
    with TrialOutput(log):
        sys.stdout.write("login with hunter2-very-secret\n")
    assert log.read_text() == "login with ***\n"
