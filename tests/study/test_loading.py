"""Loading a study: what it gives, and every fault with its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import ExitCode, Fault, StudyError
from orchestrator.study.loading import LoadedStudy, load_study
from orchestrator.study.spec import StudySpec

Load = Callable[..., LoadedStudy]
Faults = Callable[..., list[Fault]]


def test_a_valid_study(load: Load) -> None:
    loaded = load()
    spec = loaded.spec
    assert spec.name == "small"
    assert spec.seeds == (0, 1, 2)
    assert spec.stopping.max == 8
    assert spec.components["batchnorm"].why == "does it matter?"
    assert spec.budget.wall_s is None
    assert loaded.source.name == "study.yaml"
    assert loaded.raw["seeds"] == 3
    assert loaded.entrypoint is None
    assert StudySpec.model_validate(spec.to_dict()) == spec


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("2h", 7200),
        ("90m", 5400),
        ("1h30m", 5400),
        ("45s", 45),
        ("7200", 7200),
        ("1.5h", 5400),
        ("1d", 86400),
    ],
)
def test_durations(load: Load, given: str, seconds: float) -> None:
    assert load(overrides=[f"budget.wall={given}"]).spec.budget.wall_s == seconds
    assert load(overrides=[f"failures.report_timeout={given}"]).spec.failures.report_timeout == seconds


CASES = [
    # old, new, line, field, words
    ("seeds: 3", "seds: 3", 11, "seds", "unknown key 'seds'; did you mean seeds?"),
    ("seeds: 3", "seds: 3", None, "seeds", "is required; for example seeds: 5"),
    ("mode: max", "mode: maxx", 3, "metric.mode", 'must be min or max (got "maxx"); did you mean max?'),
    ("max: 8", "max: eight", 12, "stopping.max", 'must be a number (got "eight")'),
    ("max: 8", f"max: {10**400}", 12, "stopping.max", "must be a number"),
    ("max: 8", "max: true", 12, "stopping.max", "must be a number (got true)"),
    ("max: 8", "max: 0", 12, "stopping.max", "must be greater than 0 (got 0)"),
    ("max: 8", "max: 8, grace: 9", 12, "stopping.grace", "is longer than max"),
    ("rule: none, max: 8", "rule: asha, max: 8, grace: 8", 12, "stopping.grace", "at least one rung"),
    ("rule: none, max: 8", "rule: asha, max: 8, reduction: 1", 12, "stopping.reduction", "greater than 1"),
    ("unit: epoch", "unit: seconds", 12, "stopping.unit", "only possible with rule: asha"),
    ("max: 8", "max: 7.5", 12, "stopping.max", "must be a whole number of epochs (got 7.5)"),
    ("seeds: 3", "seeds: 3\nloggers: [wanb]", 12, "loggers", 'has no logger "wanb"; did you mean wandb?'),
    ("seeds: 3", "seeds: 3\nloggers: wandb", 12, "loggers", "must be a list such as [tensorboard, wandb]"),
    ("seeds: 3", "seeds: 3\nloggers: [mlflow, mlflow]", 12, "loggers", "names a logger twice"),
    ("seeds: 3", "seeds: 3\ndatasets: data", 12, "datasets", "must be module:name of a class or function"),
    ("rule: none", "rule: resolv", 12, "stopping.rule", "did you mean resolve?"),
    ("seeds: 3", "seeds: 3\ntune: {samples: 3}", 12, "tune.space", "is required"),
    ("seeds: 3", "seeds: 3\ndesign: pair", 12, "design", "did you mean pairs?"),
    ("seeds: 3", "seeds: []", 11, "seeds", "is empty: at least one seed is needed"),
    ("seeds: 3", "seeds: 0", 11, "seeds", "must be a number of seeds from 1"),
    ("seeds: 3", "seeds: [1, 2, 1]", 11, "seeds", "names a seed twice: 1"),
    ("seeds: 3", "seeds: [1, -2]", 11, "seeds", "a seed is a whole number from 0"),
    ("seeds: 3", "seeds: true", 11, "seeds", "must be a number of seeds, or a list"),
    ("seeds: 3", "seeds: 99999999999", 11, "seeds", "must be a number of seeds from 1"),
    ("name: small", "name: a/b", 1, "name", "cannot name a directory"),
    ("name: small", "name: ..", 1, "name", "cannot name a directory"),
    ("name: small", f"name: {'x' * 65}", 1, "name", "longer than 64 characters"),
    ("name: small", "name: 3", 1, "name", "must be a word (got 3)"),
    ("code.trial:Trial", "code.trial", 2, "entrypoint", "must be module:name of a class or function"),
    ("seeds: 3", "seeds: 3\ndeterministic: on", 12, "deterministic", "on, off, yes and no are words"),
    ("seeds: 3", "seeds: 3\nresources: {workers: 0}", 12, "resources.workers", "greater than or equal to 1"),
    ("seeds: 3", "seeds: 3\nresources: {max_parallel: 0}", 12, "resources.max_parallel", "from 1, or auto"),
    (
        "seeds: 3",
        "seeds: 3\nresources: {workers: 2, gpus_per_worker: 0.5}",
        12,
        "resources.gpus_per_worker",
        "only possible with one worker",
    ),
    ("seeds: 3", "seeds: 3\nresources: 2", 12, "resources", "must be a mapping (got 2)"),
    ("seeds: 3", "seeds: 3\nbudget: {wall: soon}", 12, "budget.wall", "such as 2h, 90m"),
    ("seeds: 3", "seeds: 3\nfailures: {report_timeout: never}", 12, "failures.report_timeout", "or auto"),
    ("  optim: {", "  seed: 1\n  optim: {", 6, "baseline.seed", "'seed' is reserved"),
    ("  optim: {", "  max_length: 1\n  optim: {", 6, "baseline.max_length", "set stopping.max"),
    ("  optim: {", "  a.b: 1\n  optim: {", 6, "baseline.a.b", "cannot hold a dot"),
    ("lr: 1e-3", "lr: .nan", 6, "baseline.optim.lr", "must be a finite number"),
    ("lr: 1e-3", "lr: ???", 6, "baseline.optim.lr", "has no value yet"),
    (
        "{model.batchnorm: false}",
        "{model.batchnrm: false}",
        8,
        "components.batchnorm.without.model.batchnrm",
        "the baseline has no key 'model.batchnrm'; did you mean model.batchnorm?",
    ),
    (
        "{model.batchnorm: false}",
        "{batchnorm: false}",
        8,
        "components.batchnorm.without.batchnorm",
        "did you mean model.batchnorm?",
    ),
    (
        "{model.batchnorm: false}",
        "{baseline.model.batchnorm: false}",
        8,
        "components.batchnorm.without.baseline.model.batchnorm",
        "write model.batchnorm",
    ),
    (
        "{model.batchnorm: false}",
        "{model.batchnorm: off}",
        8,
        "components.batchnorm.without.model.batchnorm",
        "the word 'off' is none (got \"off\"); write false",
    ),
    (
        "{model.batchnorm: false}",
        "{model.batchnorm: false, model: {batchnorm: false}}",
        8,
        "components.batchnorm.without.model.batchnorm",
        "is changed twice",
    ),
    (
        "{model.batchnorm: false}",
        "{model.batchnorm: true}",
        8,
        "components.batchnorm.without",
        "changes nothing",
    ),
    ("{model.batchnorm: false}", "{}", 8, "components.batchnorm.without", "changes nothing"),
    ("{model.dropout: 0.0}", "{model.dropout: 0.1}", 9, "components.dropout.without", "changes nothing"),
    (
        "{model.dropout: 0.0}",
        "{model.batchnorm: false}",
        9,
        "components.dropout.without",
        "the arm no-dropout equals the arm no-batchnorm",
    ),
    ("{without: {model.dropout: 0.0}}", "{why: x}", 9, "components.dropout", "needs 'without'"),
    ("{without: {model.dropout: 0.0}}", "{swap: {}}", 9, "components.dropout.swap", "names no alternative"),
    (
        "{without: {model.dropout: 0.0}}",
        "{wthout: {}}",
        9,
        "components.dropout.wthout",
        "did you mean without?",
    ),
    ("adam: {optim", "a=b: {optim", 10, "components.optimizer.swap.a=b", "cannot name a directory"),
    ("adam: {optim", "SGD: {optim", 10, "components.optimizer.swap.SGD", "differ only in case"),
    ("  dropout:", "  Batchnorm:", 9, "components.Batchnorm", "differ only in case"),
    ("why: does it matter?", 'label: "a\\nb"', 8, "components.batchnorm.label", "must be text of one line"),
    ("why: does it matter?", "labels: {x: y}", 8, "components.batchnorm.labels.x", "use label for the comp"),
    (
        "{swap: {sgd",
        "{labels: {sgdd: SGD}, swap: {sgd",
        10,
        "components.optimizer.labels.sgdd",
        "names no alternative of swap; did you mean sgd?",
    ),
    ("mode: max", "mode: max, at: bst", 3, "metric.at", "must be last or best"),
    ("mode: max", "mode: max, test: val/accuracy", 3, "metric.test", "is the metric that selects"),
    ("mode: max", "mode: max, test_mode: min", 3, "metric.test_mode", "is only used with metric.test"),
    (
        "mode: max",
        "mode: max, at: best, average_last: 3",
        3,
        "metric.average_last",
        "is not possible with at: best",
    ),
]


@pytest.mark.parametrize(("old", "new", "line", "field", "words"), CASES)
def test_each_fault_has_its_place(
    faults: Faults, study_text: str, old: str, new: str, line: int | None, field: str, words: str
) -> None:
    assert old in study_text
    found = faults(study_text.replace(old, new, 1))
    matching = [fault for fault in found if fault.field == field and words in str(fault)]
    assert matching, "\n".join(map(str, found))
    assert len(found) == len(matching) or "seds" in new, "\n".join(map(str, found))
    if line is not None:
        assert matching[0].line == line
    assert str(matching[0].file).endswith("study.yaml")


def test_all_faults_come_at_once_in_the_order_of_the_file(faults: Faults, tmp_path: Path) -> None:
    found = faults(
        """\
        name: bad name
        entrypoint: nowhere:X
        metric: {name: 3, mode: maxx}
        baseline: {seed: 1, model: {width: 3}, ref: "${baseline.model.widht}"}
        compnents: {}
        components:
          typo: {witout: {}}
          fine: {without: {model.width: 1}}
          empty: {}
        design: factorail
        interactions: [[typo, fine]]
        seeds: []
        stopping: {rule: resolv, goal: reinvest, looks: [9], max: 3, grace: 4}
        tune: {space: {model.widht: {choice: [1]}}, samples: 1}
        """,
        ["stopping.mx=3", "nonsense"],
        cwd=tmp_path,
    )
    assert [(fault.line, fault.field) for fault in found if fault.file != "command line"] == [
        (1, "name"),
        (2, "entrypoint"),
        (3, "metric.name"),
        (3, "metric.mode"),
        (4, "baseline.seed"),
        (4, "baseline.ref"),
        (5, "compnents"),
        (7, "components.typo.witout"),
        (9, "components.empty"),
        (10, "design"),
        (12, "seeds"),
        (13, "stopping.rule"),
        (13, "stopping.grace"),
    ]
    assert [fault.field for fault in found if fault.file == "command line"] == ["stopping.mx", None]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    def message(path: Path) -> str:
        with pytest.raises(StudyError) as caught:
            load_study(path)
        assert caught.value.exit_code is ExitCode.BAD_INPUT
        return str(caught.value)

    (tmp_path / "digits.yaml").write_bytes(b"name: x\n\nname: \xff\n")
    assert message(tmp_path / "digit.yaml").endswith("there is no such file; did you mean digits.yaml?")
    assert "no directory" in message(tmp_path / "no" / "digit.yaml")
    assert "is a directory" in message(tmp_path)
    assert message(tmp_path / "digits.yaml").endswith("digits.yaml:3: is not UTF-8 text")
    assert "cannot be read" in message(Path("a\0b"))
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert "the study file is empty" in message(tmp_path / "empty.yaml")
    (tmp_path / "list.yaml").write_text("[1, 2]\n")
    assert "is a mapping of keys" in message(tmp_path / "list.yaml")


def test_the_entrypoint_is_found_together_with_the_rest(load: Load, faults: Faults, tmp_path: Path) -> None:
    (fault,) = faults(cwd=tmp_path)
    assert (fault.line, fault.field) == (2, "entrypoint")
    assert "there is no module 'code.trial'" in fault.message
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "trial.py").write_text("class Trial: ...\n")
    source = load(cwd=tmp_path).entrypoint
    assert source is not None
    assert source.root == tmp_path.resolve()


def test_a_byte_order_mark_does_not_matter(tmp_path: Path, study_text: str) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(study_text, encoding="utf-8-sig")
    assert load_study(file).spec.name == "small"
