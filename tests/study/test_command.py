"""A command as the entrypoint: what a study file may say of it, and how it is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.errors import StudyError
from orchestrator.study.cells import make_plan
from orchestrator.study.command import CommandSpec
from orchestrator.study.loading import LoadedStudy, load_study
from orchestrator.study.plainspec import plain
from orchestrator.study.spec import StudySpec

STUDY: dict[str, Any] = {
    "name": "script",
    "entrypoint": {"command": "python train.py --lr {optim.lr} --seed {seed} --out {trial_dir}"},
    "metric": {"name": "acc", "mode": "max"},
    "baseline": {"optim": {"lr": 3e-4}, "norm": True},
    "components": {"norm": {"without": {"norm": False}}},
    "seeds": 2,
    "stopping": {"max": 3},
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "train.py").write_text("print(1)\n")
    (tmp_path / "train.sh").write_text("#!/bin/sh\n")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "run.py").write_text("")
    (tmp_path / "tool").write_bytes(b"\x7fELF")
    (tmp_path / "tool").chmod(0o755)
    return tmp_path


def load(place: Path, command: Any, *overrides: str, **changes: Any) -> LoadedStudy:
    entrypoint = command if isinstance(command, dict) else {"command": command}
    file = place / "study.yaml"
    file.write_text(yaml.safe_dump({**STUDY, "entrypoint": entrypoint, **changes}))
    return load_study(file, overrides, cwd=place)


def test_it_is_read_back_as_it_was(place: Path) -> None:
    spec = load(
        place, {"command": ["python", "train.py", 3], "resume": "--from {checkpoint}", "checkpoint": "*.pt"}
    )
    data = spec.spec.to_dict()
    assert data["entrypoint"] == {
        "command": ["python", "train.py", "3"],
        "resume": "--from {checkpoint}",
        "checkpoint": "*.pt",
    }
    assert StudySpec.model_validate(data) == spec.spec
    assert str(spec.spec.entrypoint) == "python train.py 3"


@pytest.mark.parametrize("entrypoint", [{"command": "python train.py"}, "train:train"])
def test_a_worker_reads_the_same_without_pydantic(place: Path, entrypoint: Any) -> None:
    (place / "train.py").write_text("def train(config): ...\n")
    tune = {"space": {"optim.lr": {"loguniform": [1e-4, 1e-2]}}, "compare": "both"}
    file = place / "study.yaml"
    file.write_text(yaml.safe_dump({**STUDY, "entrypoint": entrypoint, "tune": tune}))
    spec = load_study(file, (), cwd=place).spec
    told = plain(spec)
    assert (told.code, told.phases, told.tune.searches) == (spec.code, spec.phases, True)
    assert {name: vars(told)[name] for name in ("name", "seeds")} == {"name": "script", "seeds": spec.seeds}


def test_what_it_runs_makes_the_study_and_how_it_ends_does_not(place: Path) -> None:
    plans = [
        make_plan(load(place, {"command": "python train.py", **more}).spec)
        for more in ({}, {"grace": 60, "arguments": "none"}, {"arguments": "hydra"})
    ]
    assert plans[0].hash == plans[1].hash != plans[2].hash
    assert plans[0].cells == plans[1].cells
    assert {cell.cell for cell in plans[0].cells}.isdisjoint(cell.cell for cell in plans[2].cells)


@pytest.mark.parametrize(
    ("command", "file", "named"),
    [
        ("python train.py", "train.py", ("train.py",)),
        ("torchrun --nnodes 2 train.py", "train.py", ("train.py",)),
        ("python -m package.run", "package/run.py", ("package/run.py",)),
        ("./tool {norm}", "tool", ("tool",)),
        ("bash train.sh", "train.sh", ("train.sh",)),
        ("python -c 'print(1)'", "", ()),
        ({"command": "cd x && python train.py", "shell": True}, "train.py", ("train.py",)),
    ],
)
def test_its_code_is_where_its_script_is(
    place: Path, command: Any, file: str, named: tuple[str, ...]
) -> None:
    (place / "studies").mkdir()
    found = load(place, command).entrypoint
    assert found is not None
    assert (found.root, found.file, found.named) == (place, place / file, named)


REFUSED: list[tuple[str, Any, dict[str, Any], str]] = [
    ("a program", "pythn train.py", {}, "there is no program 'pythn' (got \"pythn\"); did you mean python?"),
    ("a path", "/no/such --x", {}, "there is no program '/no/such'"),
    ("no ./", "tool", {}, "write ./tool"),
    ("not executable", "./train.sh", {}, "bash ./train.sh"),
    ("a script", "python trian.py", {}, "did you mean train.py?"),
    ("a module", "python -m package.rnu", {}, "there is no module 'package.rnu'"),
    ("a key", "python train.py {optim.lrr}", {}, "(got {optim.lrr}); did you mean optim.lr?"),
    ("a brace", "python train.py {lr", {}, "write {{ for a brace"),
    ("JSON", "python train.py '{\"a\": 1}'", {}, "write {{ and }} for braces"),
    ("a reference", "python train.py ${baseline.norm}", {}, "write {norm}"),
    ("a quote", "python 'train.py", {}, "cannot be split into words: no closing quotation"),
    ("early", "python train.py {checkpoint}", {}, "put it into `resume`"),
    ("resume", {"command": "python train.py", "resume": "--r {checkpoint}"}, {}, "needs `checkpoint`"),
    ("style", {"command": "python train.py", "arguments": "argprase"}, {}, "did you mean argparse?"),
    ("a key of it", {"comand": "python train.py"}, {}, "did you mean command?"),
    ("nothing", {"command": " "}, {}, "is empty"),
    ("no text", {"command": ["python", 1.5]}, {}, "put it in quotes"),
    ("outside", {"command": "python train.py", "checkpoint": "../*.pt"}, {}, "below the trial's directory"),
    ("shell list", {"command": ["python"], "shell": True}, {}, "must be one text with shell: true"),
    ("shell quotes", {"command": "echo '{norm}'", "shell": True}, {}, "take the quotes away"),
    ("no mapping", {"entrypoint": "python train.py"}, {}, "unknown key 'entrypoint'"),
    ("datasets", "python train.py", {"datasets": "train:data"}, "goes with a Ray Train function"),
    ("monitor", "python train.py", {"monitor": ["train:Own"]}, "watches a Task, not a command"),
    (
        "a variable",
        {"command": "python train.py", "arguments": "env"},
        {"baseline": {"norm": True, "path": "x"}},
        "path would be the variable PATH",
    ),
    (
        "two variables",
        {"command": "python train.py", "arguments": "env"},
        {"baseline": {"norm": True, "a": {"b": 1}, "a_b": 2}},
        "a.b and a_b would both be the variable A_B",
    ),
    (
        "a name of ours",
        "python train.py",
        {"baseline": {"norm": 1, "trial_dir": 1}},
        "give the key another name",
    ),
]


@pytest.mark.parametrize(
    ("command", "changes", "said"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_what_cannot_run_is_refused(place: Path, command: Any, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(StudyError) as caught:
        load(place, command, **changes)
    assert said in str(caught.value)
    assert all("study.yaml:" in str(fault) for fault in caught.value.faults)


def test_words_in_place_of_a_name_are_told_how_to_be_a_command(place: Path) -> None:
    with pytest.raises(StudyError, match="to run a command: entrypoint"):
        load(place, {}, "entrypoint=python train.py")


def test_faults_elsewhere_are_told_beside_those_of_the_command(place: Path) -> None:
    with pytest.raises(StudyError) as caught:
        load(place, {"command": "python train.py {lr}", "arguments": "x"}, seeds=0)
    assert sorted(str(fault.field) for fault in caught.value.faults) == [
        "entrypoint.arguments",
        "entrypoint.command",
        "seeds",
    ]


def test_a_setting_of_it_can_be_changed_in_place(place: Path) -> None:
    found = load(place, "python train.py", "entrypoint.grace=5", "entrypoint.arguments=hydra").spec.entrypoint
    assert isinstance(found, CommandSpec)
    assert (found.grace, found.arguments) == (5.0, "hydra")
