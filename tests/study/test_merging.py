"""`extends` and `key=value`: what is merged, removed, refused, and where each value then comes from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import Fault, StudyError
from orchestrator.study.loading import LoadedStudy, load_study

Load = Callable[..., LoadedStudy]
Faults = Callable[..., list[Fault]]


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


def messages(path: Path) -> list[str]:
    with pytest.raises(StudyError) as caught:
        load_study(path)
    return [str(fault) for fault in caught.value.faults]


def test_extends_merges_mappings_and_replaces_the_rest(tmp_path: Path, study_text: str) -> None:
    child = """\
extends: ../base.yaml
name: child
baseline: {optim: {lr: 0.5}}
components: {dropout: null, optimizer: {swap: {adam: null}}, wide: {without: {model.width: 64}}}
seeds: [7, 8]
"""
    write(tmp_path, base=study_text, sub__child=child)
    spec = load_study(tmp_path / "sub" / "child.yaml").spec
    assert spec.name == "child"
    assert spec.baseline["optim"] == {"name": "adamw", "lr": 0.5}
    assert list(spec.components) == ["batchnorm", "optimizer", "wide"]
    assert list(spec.components["optimizer"].swap or {}) == ["sgd"]
    assert spec.seeds == (7, 8)


def test_a_chain_of_files(tmp_path: Path, study_text: str) -> None:
    write(tmp_path, a=study_text, b="extends: a.yaml\nseeds: 4\n", c="extends: b.yaml\nname: c\n")
    spec = load_study(tmp_path / "c.yaml").spec
    assert (spec.name, len(spec.seeds)) == ("c", 4)


def test_faults_name_the_file_that_holds_the_value(tmp_path: Path, study_text: str) -> None:
    base = study_text.replace("mode: max", "mode: best")
    write(tmp_path, base=base, child="extends: base.yaml\nstopping: {max: 0}\n")
    first, second = messages(tmp_path / "child.yaml")
    assert first.startswith(f"{tmp_path / 'base.yaml'}:3: metric.mode")
    assert second.startswith(f"{tmp_path / 'child.yaml'}:2: stopping.max")


@pytest.mark.parametrize(
    ("extends", "words"),
    [
        ("study.yaml", "the files extend each other in a circle: study.yaml → study.yaml"),
        ("other.yaml", "the files extend each other in a circle: study.yaml → other.yaml → study.yaml"),
        ("missing.yaml", "there is no file"),
        (".", "there is no file"),
        ("3", "must be the path of a study file"),
        ("[other.yaml]", "must be the path of a study file"),
        ('"a\\0b"', "must be the path of a study file"),
        ('"${name}.yaml"', "cannot hold a reference"),
        ("x" * 5000, "there is no file"),
        ("broken.yaml", "not valid YAML"),
        ("empty.yaml", "is empty"),
    ],
)
def test_extends_that_cannot_be_followed(tmp_path: Path, extends: str, words: str) -> None:
    write(tmp_path, study=f"extends: {extends}\n", other="extends: study.yaml\n", broken="a: [\n", empty="")
    (message,) = messages(tmp_path / "study.yaml")
    assert words in message


def test_too_many_files(tmp_path: Path) -> None:
    for index in range(30):
        write(tmp_path, **{f"f{index}": f"extends: f{index + 1}.yaml\n"})
    assert "more than 20 files" in messages(tmp_path / "f0.yaml")[0]


def test_overrides(load: Load) -> None:
    spec = load(
        overrides=[
            "baseline.optim.lr=3e-4",
            "stopping.max=5",
            "stopping.grace=2",
            "seeds=[4, 5]",
            "resources={workers: 2}",
            "components.optimizer.swap.sgd.optim.lr=0.2",
            "components.dropout=null",
            "components.batchnorm.why=a = b",
            "baseline.model={width: 16}",
            "seeds=2",
            "report.margin=0.5",
        ]
    ).spec
    assert spec.baseline == {
        "model": {"width": 16, "batchnorm": True, "dropout": 0.1},
        "optim": {"name": "adamw", "lr": 3e-4},
    }
    assert (spec.stopping.max, spec.stopping.grace, spec.seeds) == (5, 2, (0, 1))
    assert spec.resources.workers == 2
    assert list(spec.components) == ["batchnorm", "optimizer"]
    assert (spec.components["optimizer"].swap or {})["sgd"] == {"optim.name": "sgd", "optim.lr": 0.2}
    assert spec.components["batchnorm"].why == "a = b"
    assert spec.report.margin == 0.5


@pytest.mark.parametrize(
    ("override", "field", "words"),
    [
        (
            "stopping.mx=3",
            "stopping.mx",
            "there is no such setting (got stopping.mx=3); did you mean stopping.max?",
        ),
        ("optim.lr=3", "optim.lr", "did you mean baseline.optim.lr?"),
        ("baseline.optim.lrr=3", "baseline.optim.lrr", "did you mean baseline.optim.lr?"),
        ("baseline.optim={lrr: 3}", "baseline.optim.lrr", "did you mean lr?"),
        ("stopping={mx: 3}", "stopping.mx", "did you mean max?"),
        ("components.new.without.model.width=3", "components.new.without.model.width", "no such setting"),
        ("seeds.0=3", "seeds.0", "no such setting"),
        ("name.first=3", "name.first", "no such setting"),
        ("qqqqqqqq=1", "qqqqqqqq", "valid: name, entrypoint, metric"),
        ("=3", None, "is no setting; write key=value"),
        ("seeds", None, "'seeds' is no setting; write key=value"),
        ("", None, "is no setting"),
        ("seeds=[1", "seeds", "not valid YAML"),
        ("name=@x", "name", "put the value in quotes"),
        ("seeds=*x", "seeds", "undefined alias"),
        ("extends=x.yaml", "extends", "no such setting"),
    ],
)
def test_overrides_that_address_nothing(faults: Faults, override: str, field: str | None, words: str) -> None:
    (fault,) = faults(overrides=[override])
    assert (fault.file, fault.line, fault.field) == ("command line", None, field)
    assert words in str(fault)


def test_a_bad_value_from_the_command_line_says_so(faults: Faults) -> None:
    (fault,) = faults(overrides=["seeds=0"])
    assert str(fault).startswith("command line: seeds: must be a number of seeds from 1")
    (fault,) = faults(overrides=["baseline.model.dropout=0"])
    assert fault.field == "components.dropout.without"


def test_an_override_does_not_hide_what_is_wrong_in_the_file(faults: Faults, study_text: str) -> None:
    text = study_text.replace("stopping: {rule: none, max: 8, unit: epoch}", "stopping: 5")
    (fault,) = faults(text, ["stopping.max=3"])
    assert "must be a mapping (got 5)" in str(fault)
