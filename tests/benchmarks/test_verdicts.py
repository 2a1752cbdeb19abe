"""What a verdict costs: the replay of kept curves, at tiny size, and what is made of its answers."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPTS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch):
    """A module of the benchmarks, which import each other by their bare names."""
    monkeypatch.syspath_prepend(SCRIPTS)
    before = set(sys.modules)
    yield __import__
    for name in set(sys.modules) - before:
        if str(SCRIPTS) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def kept(load, tmp_path: Path):
    """Fourteen seeds of the digits study: two arms are far below the reference, the others are as good."""
    curves = load("curves")
    spec = curves.study_of("digits", 14)
    chance = np.random.default_rng(0)
    seeds = chance.normal(0, 0.004, 14)
    made = {"config": "digits-planted.yaml", "changes": [], "plan_hash": "0", "date": "d", "python": "3"}
    arms = [arm.name for arm in load("answers").make_plan(spec).arms]
    runs = {
        arm: [
            [
                float(0.9 - 0.3 / (at + 1) - 0.1 * (row in (3, 7)) + seed + chance.normal(0, 0.002))
                for at in range(8)
            ]
            for seed in seeds
        ]
        for row, arm in enumerate(arms)
    }
    runs[arms[1]][2] = runs[arms[1]][2][:3]  # diverged
    recorded = curves.Recorded(
        spec.model_dump(mode="json"), {**made, "packages": {}}, list(range(1, 9)), runs
    )
    curves.save("digits", recorded, tmp_path)
    return recorded


def test_what_is_kept_is_read_again_and_its_bytes_are_its_content(load, kept, tmp_path: Path) -> None:
    curves = load("curves")
    file = tmp_path / "digits.json.gz"
    before = file.read_bytes()
    found = curves.load("digits", tmp_path)
    assert (found, found.seeds, found.arms[0]) == (kept, 14, "baseline")
    assert curves.save("digits", found, tmp_path).read_bytes() == before


def test_rules_are_followed_as_simulate_from_follows_them(load, kept) -> None:
    answers = load("answers")
    drawing = answers.Drawing(kept, 5)
    spec = drawing.spec
    plan = answers.make_plan(spec)
    most = answers.most_seeds(plan)
    picked = drawing.picked(0, 3, most)
    assert most == 12
    assert (picked, len(set(picked))) == (drawing.picked(0, 3, most), most)
    found = answers.replayed(kept, spec, plan, picked)
    assert set(found) == set(answers.RULES)
    for goal in answers.GOALS:
        assert found[goal] == answers.recorded_answer(kept, spec, plan, picked, goal)
    assert found["none"].trained == pytest.approx(1.0, abs=0.1)  # the run that diverged was shorter
    assert found["save"].trained < 1
    assert found["none"].verdicts[2] == found["save"].verdicts[2] == "worse"


def test_all_seeds_are_the_reference_and_claims_against_it_are_counted(load, kept) -> None:
    answers = load("answers")
    truth = answers.reference(kept)
    assert [row for row, said in enumerate(truth.verdicts, start=1) if said == "worse"] == [3, 7]
    assert "equivalent" in truth.verdicts
    opposite = [{"worse": "better", "better": "worse"}.get(said, said) for said in truth.verdicts]
    wrong = answers.Answer(
        0.5, tuple(opposite), tuple(None if score is None else -score for score in truth.scores)
    )
    alike, against = (answers.compared([one], truth, 0.01) for one in (truth, wrong))
    assert (alike["same"], alike["found"], alike["against"], alike["signs"]) == (1, 1, 0, 1)
    assert (against["found"], against["against"], against["studies_against"], against["signs"]) == (
        0,
        2,
        1,
        0,
    )
    ranked = answers.compared([answers.Answer(0.3, (), truth.scores)], truth, 0.01)
    assert (ranked["best"], "said" in ranked) == (1, False)


def test_the_table_without_optuna_says_so_and_has_a_cell_for_everything(load, kept, tmp_path: Path) -> None:
    verdicts = load("verdicts")
    found = {
        "draws": 2,
        "seed": 0,
        "optuna": None,
        "studies": {"digits": verdicts.measured(kept, 2, 0, optuna=False)},
    }
    text = verdicts.drawn(found)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1
    assert len(rows) == 2 + len(verdicts.RULES)
    assert verdicts.NO_OPTUNA in text
    assert "`resolve`, save" in text
    with pytest.raises(SystemExit):
        verdicts.arguments(["--write", "--studies", "digits"])


def test_pruners_are_fed_the_same_curves_and_claim_nothing(load, kept) -> None:
    pytest.importorskip("optuna")
    pruners = load("pruners")
    for name, make in pruners.pruners(8).items():
        found = pruners.pruned(kept, "max", [0, 1, 3], name, make)
        assert found.verdicts == ()
        assert 0 < found.trained <= 1
        assert len(found.scores) == len(kept.arms)


def test_text_is_put_between_its_marks(load) -> None:
    page = load("page")
    text = "a\n<!-- x -->\nold\n<!-- end of x -->\nb\n"
    assert page.written_into(text, "x", "new\n\n") == "a\n<!-- x -->\nnew\n<!-- end of x -->\nb\n"
    with pytest.raises(ValueError, match="the page has no"):
        page.written_into(text, "y", "new")


def test_the_page_has_tables_once_the_curves_are_there(load, tmp_path: Path) -> None:
    verdicts, curves, page = load("verdicts"), load("curves"), load("page")
    text = page.PAGE.read_text(encoding="utf-8")
    recorded = curves.there() == list(curves.STUDIES)
    assert (page.written_into(text, verdicts.MARK, verdicts.drawn(None)) == text) is not recorded
    for name in curves.there():
        assert (curves.RECORDED / f"{name}.json.gz").stat().st_size < 300_000
    with pytest.raises(SystemExit, match=r"verdicts\.py record"):
        verdicts.main(["--folder", str(tmp_path)])


@pytest.mark.slow
def test_recording_goes_on_where_it_was_ended(load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    curves = load("curves")
    file, changes = curves.STUDIES["digits"]
    short = (
        *changes,
        "stopping.max=1",
        *(f"components.{name}=null" for name in ("batchnorm", "augment", "mixup")),
    )
    short = (*short, *(f"components.{name}=null" for name in ("dropout", "schedule", "labels")))
    monkeypatch.setitem(curves.STUDIES, "digits", (file, short))
    assert not curves.record(["digits"], 2, tmp_path, until=0.0)
    assert curves.record(["digits"], 2, tmp_path, until=float("inf"))
    found = curves.load("digits", tmp_path)
    assert (found.arms, found.lengths, found.made["config"]) == (
        ["baseline", "numbering=descending"], [1], "digits-planted.yaml",
    )  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["digits.json.gz"]
