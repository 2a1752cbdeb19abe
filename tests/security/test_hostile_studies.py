"""A study file from a stranger: refused in time, with a message, and without leaving the storage root."""

from __future__ import annotations

import itertools
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli.app import main
from orchestrator.errors import StudyError
from orchestrator.record.layout import StudyPaths
from orchestrator.record.storage import Storage
from orchestrator.study.loading import load_study
from orchestrator.study.secrets import environment_secrets, looks_secret, masked
from orchestrator.study.values import name_fault

STUDY = """\
name: {name}
entrypoint: task:train
metric: {{name: loss, mode: min}}
baseline: {{lr: 0.1, {extra}}}
components:
  {component}: {{swap: {{{alternative}: {{lr: 0.2}}}}}}
seeds: 1
stopping: {{max: 1}}
storage: {storage}
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A study file beside an entrypoint that leaves a trace when it is imported."""
    (tmp_path / "task.py").write_text("open('imported', 'w').close()\ndef train(config): ...\n")
    monkeypatch.chdir(tmp_path)

    def of(**fields: str) -> Path:
        words = {
            "name": "mine",
            "component": "rate",
            "alternative": "high",
            "extra": "a: 1",
            "storage": "runs",
        }
        file = tmp_path / "study.yaml"
        file.write_text(STUDY.format(**{**words, **fields}))
        return file

    return of


BAD_NAMES = (
    "../../x",
    "/etc/x",
    "..",
    ".hidden",
    "a/b",
    "a\\\\b",
    "a\\0b",
    "a\\nb",
    "x" * 300,
    "\N{FULLWIDTH FULL STOP}\N{FULLWIDTH FULL STOP}",
    "\N{CYRILLIC SMALL LETTER A}",
    "~root",
)


@pytest.mark.parametrize("field", ["name", "component", "alternative"])
@pytest.mark.parametrize("bad", BAD_NAMES)
def test_names_that_are_no_directory_are_refused(
    field: str, bad: str, write: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(**{field: f'"{bad}"'})
    before = sorted(tmp_path.rglob("*"))
    assert main(["plan", "--config", str(file)]) == 2
    assert "study.yaml" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_sound_study_is_planned_without_importing_its_code(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    assert main(["validate", "--config", str(write())]) == 0
    assert main(["plan", "--config", str(write())]) == 0
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize(
    "linked", ["", "trials", "trials/baseline", "control", "journal.jsonl", "trials/a/seed-0/MANIFEST.json"]
)
def test_links_out_of_a_study_are_refused(
    linked: str, write: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    link = tmp_path / "runs/mine" / linked
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(outside)
    assert main(["plan", "--config", str(write())]) == 2
    assert "a symbolic link leads out" in capsys.readouterr().err
    storage = Storage.open(tmp_path / "runs")
    for act in (
        lambda: storage.write_atomic(f"mine/{linked}/x".replace("//", "/"), b"x"),
        lambda: storage.delete_dir(f"mine/{linked}".rstrip("/")),
        lambda: storage.list(f"mine/{linked}".rstrip("/")),
    ):
        with pytest.raises(StudyError, match="symbolic link"):
            act()
    assert list(outside.iterdir()) == []


def test_the_storage_root_may_be_a_link(write: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "runs").symlink_to(tmp_path / "disk")
    assert main(["plan", "--config", str(write())]) == 0
    Storage.open(tmp_path / "runs").write_atomic("mine/x", b"x")
    assert (tmp_path / "disk/mine/x").read_bytes() == b"x"


def _bomb() -> str:
    names = "abcdefghij"
    rows = [f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]" for a, b in itertools.pairwise(names)]
    return "a: &a [x]\n" + "\n".join(rows) + "\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        pytest.param(_bomb, id="bomb"),
        pytest.param(lambda: _bomb() + "# pad\n" * 1_700_000, id="bomb-10MB"),
        pytest.param(lambda: "".join(f"k{i}: {i}\n" for i in range(800_000)), id="plain-10MB"),
        pytest.param(lambda: "a: " + "x" * 10_000_000, id="scalar-10MB"),
        pytest.param(lambda: "a: " + "[" * 60_000, id="deep"),
        pytest.param(lambda: "a: [" + "1," * 31_000 + "]", id="list"),
        pytest.param(
            lambda: "a: &a {" + ",".join(f"k{i}: 1" for i in range(900)) + "}\n" + "b: {<<: *a}\n" * 3500,
            id="merge",
        ),
    ],
)
def test_what_would_fill_memory_is_refused_quickly(text: Callable[[], str], tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(text())
    mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    began = time.process_time()
    with pytest.raises(StudyError):
        load_study(tmp_path / "study.yaml")
    assert time.process_time() - began < 4  # 2 s on an idle machine
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - mib < 200


def test_a_file_that_never_ends_is_no_study(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    for file in (tmp_path / "pipe.yaml", Path("/dev/zero")):
        with pytest.raises(StudyError, match="no regular file"):
            load_study(file)


@pytest.mark.parametrize(
    "extra",
    [
        "api_key: abcdef123456",
        "optim: {password: correct-horse}",
        "url: 'https://me:pa55word@host/x'",
        "x: ghp_" + "a" * 36,
    ],
)
def test_secrets_in_a_study_are_refused_and_not_shown(
    extra: str, write: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "--config", str(write(extra=extra))]) == 2
    said = capsys.readouterr().err
    assert "looks like a secret" in said
    assert not any(word in said for word in ("abcdef123456", "correct-horse", "pa55word", "aaaaaaaa"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("pad_token", "<|endoftext|>"),
        ("token", "bpe"),
        ("tokenizer", "byte-level"),
        ("n_tokens", "100000000"),
        ("root", "s3://bucket/data"),
    ],
)
def test_words_of_the_field_are_no_secrets(key: str, value: str) -> None:
    assert not looks_secret(key, value)


def test_secrets_are_masked_in_texts() -> None:
    known = environment_secrets(
        {"X_TOKEN": "sesame-open", "TOKENIZERS_PARALLELISM": "false-false", "A_TOKEN": "short"}
    )
    assert known == ("sesame-open",)
    text = "login(sesame-open) at https://u:pw@host, api_key='0123456789' lr=0.1"
    assert masked(text, known) == "login(***) at https://***@host, api_key='***' lr=0.1"


@pytest.mark.slow
@given(st.text(), st.text(), st.integers(0, 2**32 - 1), st.none() | st.integers(0, 9), st.text())
def test_no_trial_leaves_its_study(name: str, arm: str, seed: int, sample: int | None, phase: str) -> None:
    try:
        f"{name}{arm}{phase}".encode()
    except UnicodeEncodeError:
        return
    folder = StudyPaths.of(name).trial_dir(arm, seed, sample, phase)
    parts = folder.split("/")
    assert len(parts) == 4 + (sample is not None)
    assert not {"", ".", ".."} & set(parts)
    assert Path(os.path.normpath(f"/root/{folder}")).is_relative_to(f"/root/{parts[0]}/trials")


@given(st.text(alphabet="ab./\\\0\n~%-_=", max_size=80))
def test_accepted_names_are_one_component(name: str) -> None:
    if name_fault(name) is None:
        assert Path(name).name == name
