"""`orchestrate init --from train.py`: the study file that a script's options amount to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli.fromscript import open_points, study_text
from orchestrator.cli.scriptoptions import ScriptOption, ScriptText, read_script
from orchestrator.errors import InputError
from orchestrator.study.yamlfile import parse_yaml

SCRIPT = """
import argparse, os
from pathlib import Path
import options
MODELS = {"mlp": object, "cnn": object}
LR = 3e-5
p = argparse.ArgumentParser()
p.add_argument("--lr", "-l", type=float, default=LR)
p.add_argument("--batch-size", type=int, default=64, help="samples of a step, 100%% of them")
p.add_argument("--optimizer", choices=["adam", "sgd"], default="adam")
p.add_argument("--model", choices=list(MODELS), default="mlp")
p.add_argument("--mixup", action="store_true")
p.add_argument("--no-augment", action="store_false", dest="augment")
p.add_argument("--amp", action=argparse.BooleanOptionalAction, default=True)
p.add_argument("--num-epochs", type=int, default=20)
p.add_argument("--random_seed", type=int, default=None)
p.add_argument("--out", type=Path, default=Path("runs/x"))
p.add_argument("--resume", default="")
p.add_argument("--workers", type=int, default=os.cpu_count())
p.add_argument("--layers", nargs="+", type=int, default=[64, 32])
p.add_argument("-v", action="count")
a = p.parse_args()
for epoch in range(a.num_epochs):
    log({"epoch": epoch, "train_loss": 0.5, "val_acc": 0.5})
"""
OPTIONS = "def more(parser):\n    parser.add_argument('--dropout', type=float, default=0.1)\n"


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "options.py").write_text(OPTIONS)
    (tmp_path / "fit.py").write_text(SCRIPT)
    return Path("fit.py")


def test_a_script_becomes_a_study_file(script: Path) -> None:
    found = read_script(script)
    study: dict[str, Any] = parse_yaml(study_text(found, "python fit.py", "fit"), "study.yaml").data
    assert study["entrypoint"] == {
        "command": "python fit.py --num-epochs {max_length} --random_seed {seed} --out {trial_dir}/runs/x",
        "arguments": "argparse",
    }
    assert study["baseline"] == {
        "lr": 3e-5,
        "batch-size": 64,
        "optimizer": "adam",
        "model": "mlp",
        "mixup": False,
        "no-augment": False,
        "no-amp": False,
        "layers": [64, 32],
        "dropout": 0.1,
    }
    assert study["metric"] == {"name": "val_acc", "mode": "max"}
    assert study["stopping"] == {"max": 20, "unit": "epoch"}
    assert open_points(found) == [
        "line 19: the default of --workers is computed",
        "line 21: -v has action count",
    ]


def test_the_examples_of_components_are_ones(script: Path) -> None:
    text = study_text(read_script(script), "python fit.py", "fit")
    examples = [line[4:] for line in text.splitlines() if line.startswith("#   ")]
    assert parse_yaml("\n".join(examples), "x").data == {
        "optimizer": {"swap": {"sgd": {"optimizer": "sgd"}}},
        "model": {"swap": {"cnn": {"model": "cnn"}}},
        "mixup": {"without": {"mixup": False}},
        "augment": {"without": {"no-augment": True}},
        "amp": {"without": {"no-amp": True}},
        "dropout": {"without": {"dropout": 0.0}},
    }


def test_what_is_written_validates_with_its_examples(command: Any, script: Path) -> None:
    done = command("init", "--from", script)
    assert done.code == 0
    assert "line 21: -v has action count" in done.err
    file = Path("study.yaml")
    assert command("validate", "--config", file).code == 0
    text = file.read_text().replace("# components", "components").replace("\n#   ", "\n  ")
    text = text.replace("  mixup: false", "  mixup: true", 1)
    file.write_text(text)
    assert "7 arms" in command("validate", "--config", file).out
    again = command("init", "--from", script)
    assert (again.code, file.read_text()) == (2, text)
    assert "this file is there already" in again.err


@pytest.mark.parametrize("how", ["from . import options", "importlib.import_module('options')"])
def test_options_of_a_module_beside_it_are_read(script: Path, how: str) -> None:
    script.write_text(f"{how}\n")
    assert [option.flag for option in read_script(script).options] == ["--dropout"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import click\n", "it uses click"),
        ("import hydra\n", "arguments: hydra"),
        ("def f(:\n", "train.py:1: is no Python"),
        ("print(1)\n", "no call of add_argument"),
    ],
)
def test_a_script_without_options_is_told(
    command: Any, tmp_path: Path, text: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("train.py").write_text(text)
    done = command("init", "--from", "train.py")
    assert done.code == 2
    assert said in done.err
    assert not Path("study.yaml").exists()


def test_a_folder_or_a_script_is_asked_for(command: Any) -> None:
    done = command("init")
    assert done.code == 2
    assert "orchestrate init --from train.py" in done.err


def test_a_script_that_is_not_there(command: Any) -> None:
    assert "no such file" in command("init", "--from", "nowhere/train.py").err.lower()


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=20),
    st.lists(st.integers()),
)


@given(
    flag=st.from_regex(r"--[a-zA-Z][\w.-]{0,12}", fullmatch=True),
    default=VALUES,
    choices=st.lists(st.text(max_size=6), max_size=3).map(tuple),
    text=st.text(max_size=40),
)
def test_any_option_is_read_back_as_it_was(flag: str, default: Any, choices: Any, text: str) -> None:
    option = ScriptOption(flag, default, choices=choices, help=text)
    written = study_text(ScriptText([option]), "python a.py", "a")
    study: dict[str, Any] = parse_yaml(written, "study.yaml").data
    kept = study["baseline"]
    assert kept == {} or kept == {option.key: default}
    examples = "\n".join(line[4:] for line in written.splitlines() if line.startswith("#   "))
    assert isinstance(parse_yaml(examples, "x").data, dict)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes(b"\xff\x00")
    with pytest.raises(InputError):
        read_script(tmp_path / "a.py")
