"""The charlm example: what the model sees, what each key does, exact resume."""

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.training.local import LocalSession, run_local
from orchestrator.training.loop import run_task
from orchestrator.training.session import TrialStopped
from trials.charlm import BLOCKS, TOKENS, CharLM, load_corpus, rotated, windows

TEXT = "".join(f"In the beginning was word {n}, and word {n * n} was short. " for n in range(40))


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("text") / "text.txt"
    file.write_text(TEXT, encoding="utf-8")
    return str(file)


def config(text: str, **changes: Any) -> dict[str, Any]:
    """A tiny model on `text`, with `section__key=value` changes."""
    made: dict[str, Any] = {
        "seed": 0,
        "data": {"text": text, "context": 16, "batch_size": 8, "typos": 0.0, "numbering": "ascending"},
        "model": {
            "width": 16,
            "layers": 2,
            "heads": 2,
            "norm": "pre",
            "positions": "rotary",
            "activation": "gelu",
            "tied": True,
            "dropout": 0.1,
        },
        "optim": {"name": "adamw", "lr": 1e-2, "schedule": "cosine", "warmup": 0.2},
        "train": {"clip": 1.0, "report_every": 5, "val_batch_every": 0},
    }
    made = copy.deepcopy(made)
    for name, value in changes.items():
        section, key = name.split("__")
        made[section][key] = value
    return made


def train(settings: dict[str, Any], steps: int = 10) -> list[dict[str, Any]]:
    return run_local(CharLM, settings, max_length=steps, unit="step")


def test_it_starts_at_chance_and_learns(text: str) -> None:
    rows = train(config(text), steps=60)
    assert rows[0]["step"] == 5
    assert rows[-1]["val/bits_per_char"] < 0.5 * math.log2(len(set(TEXT)))
    assert rows[-1]["val/bits_per_char"] == pytest.approx(rows[-1]["val/loss"] / math.log(2), rel=1e-5)


def test_resumes_exactly(text: str, tmp_path: Path) -> None:
    whole = train(config(text))
    session = LocalSession(
        config=config(text),
        max_length=10,
        unit="step",
        trial_dir=str(tmp_path),
        checkpoints=True,
        stop_when=lambda metrics: metrics["step"] == 5,
    )
    with pytest.raises(TrialStopped):
        run_task(CharLM, session)
    resumed = LocalSession(
        config=config(text),
        max_length=10,
        unit="step",
        trial_dir=str(tmp_path),
        resume_from=session.checkpoint_path(5),
    )
    run_task(CharLM, resumed)
    assert session.reports + resumed.reports == whole


@pytest.mark.slow
def test_every_component_changes_the_curve(text: str) -> None:
    arms = [
        {},
        {"model__norm": "none"},
        {"model__norm": "post"},
        {"model__positions": "none"},
        {"model__positions": "learned"},
        {"model__activation": "relu"},
        {"model__tied": False},
        {"model__dropout": 0.0},
        {"optim__warmup": 0.0},
        {"train__clip": None},
        {"data__typos": 0.3},
        {"data__numbering": "descending"},
    ]
    losses = [train(config(text, **arm), steps=5)[-1]["train/loss"] for arm in arms]
    assert len(set(losses)) == len(arms)


@pytest.mark.parametrize("positions", ["rotary", "learned", "none"])
def test_a_place_sees_itself_and_what_is_before_it(text: str, positions: str) -> None:
    settings = config(text, model__positions=positions)
    task = CharLM(settings)
    model = task.build_model(settings).eval()
    tokens = windows(task.corpus.codes, 16)[:4].clone()
    before = model({TOKENS: tokens})["logits"]
    tokens[:, 9] = (tokens[:, 9] + 1) % len(task.corpus.alphabet)
    after = model({TOKENS: tokens})["logits"]
    assert torch.equal(before[:, :9], after[:, :9])
    assert not torch.equal(before[:, 9], after[:, 9])


def test_rotary_scores_depend_on_the_distance_alone() -> None:
    one, two = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    turned = rotated(one.expand(1, 1, 12, 8))[0, 0] @ rotated(two.expand(1, 1, 12, 8))[0, 0].T  # [12, 12]
    assert torch.allclose(turned[3, 1], turned[11, 9], atol=1e-5)
    assert not torch.allclose(turned[3, 1], turned[3, 2], atol=1e-3)


def test_arms_share_the_weights_that_they_share(text: str) -> None:
    def first_weights(settings: dict[str, Any]) -> dict[str, torch.Tensor]:
        task = CharLM(settings)
        model = task.build_model(settings)
        task.init_weights(model, task.streams)
        return dict(model.named_parameters())

    bare = first_weights(config(text))
    full = first_weights(config(text, model__tied=False, model__positions="learned"))
    assert full.keys() - bare.keys() == {"head.weight", "position.weight"}
    assert all(torch.equal(weight, full[name]) for name, weight in bare.items())


def test_a_seed_keeps_one_block_of_neighbours_for_validation(text: str) -> None:
    held_out = []
    for seed in range(6):
        task = CharLM(config(text) | {"seed": seed})
        data = task.split_data(task.build_data(task.config), task.streams.generator("split"))
        train_ids, val_ids = (data[part]["id"].tolist() for part in ("train", "val"))
        count = len(windows(task.corpus.codes, 16))
        assert not set(train_ids) & set(val_ids)
        assert len(train_ids) + len(val_ids) >= 0.8 * count
        assert val_ids == list(range(val_ids[0], val_ids[-1] + 1))
        assert len(val_ids) == pytest.approx(count / BLOCKS, abs=1)
        held_out.append(val_ids[0])
    assert len(set(held_out)) > 1


def test_no_window_of_the_held_out_block_is_trained_on(tmp_path: Path) -> None:
    text = tmp_path / "twice.txt"
    text.write_text(TEXT[:1600] + TEXT[:80])  # the first five windows once more, at the end
    for seed in range(16):
        task = CharLM(config(str(text)) | {"seed": seed})
        data = task.split_data(task.build_data(task.config), task.streams.generator("split"))
        train, val = ({tuple(row) for row in data[part][TOKENS].tolist()} for part in ("train", "val"))
        assert val
        assert not train & val


def test_windows_read_the_text_in_order(text: str) -> None:
    corpus = load_corpus(text)
    table = windows(corpus.codes, 16)
    letters = ["".join(corpus.alphabet[code] for code in row) for row in table[:2].tolist()]
    assert letters == [TEXT[:17], TEXT[16:33]]
    turned = load_corpus(text, "descending")
    assert torch.equal(turned.codes, len(corpus.alphabet) - 1 - corpus.codes)


def test_every_python_has_a_text() -> None:
    corpus = load_corpus(None)
    assert len(corpus.codes) > 200_000
    assert 50 < len(corpus.alphabet) < 256


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data__text": "nowhere.txt"}, "data.text: there is no file nowhere.txt"),
        ({"data__context": 4096}, "data.context 4096 at least 65537 are needed"),
        ({"data__numbering": "random"}, "data.numbering is 'random'; valid: ascending, descending"),
        ({"model__norm": "batch"}, "model.norm is 'batch'; valid: pre, post, none"),
        ({"model__heads": 3}, "model.width 16 must be a multiple of twice model.heads 3"),
    ],
)
def test_what_cannot_be_used_is_named(text: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        train(config(text, **changes))
