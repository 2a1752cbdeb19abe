"""The segment example: the drawn masks, the metric, what each key does."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from memorysink import MemorySink

from orchestrator import SampleDraws, Streams
from orchestrator.training.local import LocalSession, run_local
from orchestrator.training.loop import run_task
from trials.segment import CLASSES, IMAGE, LOGITS, MASK, Segment, UNet, dice_loss, draw_images, mean_iou

BASE: dict[str, Any] = {
    "seed": 0,
    "data": {"images": 64, "batch_size": 16, "augment": True, "mask_shift": 0, "numbering": "ascending"},
    "model": {"width": 4, "skips": True, "batchnorm": True},
    "loss": {"dice": 1.0},
    "optim": {"name": "adamw", "lr": 1e-2, "schedule": "cosine"},
    "train": {"val_batch_every": 0},
}


def config(**changes: Any) -> dict[str, Any]:
    changed = copy.deepcopy(BASE)
    for name, value in changes.items():
        section, key = name.split("__")
        changed[section][key] = value
    return changed


@pytest.mark.long
@pytest.mark.slow
def test_every_component_changes_the_curve() -> None:
    arms: list[dict[str, Any]] = [
        {},
        {"model__skips": False},
        {"model__batchnorm": False},
        {"data__augment": False},
        {"loss__dice": 0.0},
        {"optim__schedule": "constant"},
        {"data__mask_shift": 3},
        {"data__numbering": "descending"},
    ]
    losses = [run_local(Segment, config(**arm), max_length=1)[-1]["train/loss"] for arm in arms]
    assert len(set(losses)) == len(arms)


@pytest.mark.slow
def test_it_learns() -> None:
    rows = run_local(Segment, config(data__images=160), max_length=4)
    assert rows[-1]["val/miou"] > rows[0]["val/miou"]
    assert rows[-1]["val/miou"] > 0.3


class Planted(Segment):
    """Six validation samples have the mask of another one."""

    def split_data(self, data: Any, generator: torch.Generator) -> Any:
        parts = super().split_data(data, generator)
        masks = parts["val"][MASK].clone()
        masks[:6] = parts["val"][MASK][6:12]
        self.wrong = parts["val"]["id"][:6].tolist()
        return {**parts, "val": {**parts["val"], MASK: masks}}


@pytest.mark.slow
def test_masks_that_are_planted_wrong_are_the_worst_samples(tmp_path: Path) -> None:
    settings, sink = config(data__images=240, data__augment=False), MemorySink()
    run_task(Planted, LocalSession(settings, 4, str(tmp_path), monitors=("best_worst",), sink=sink))
    last = [entry.value for entry in sink.entries if entry.kind == "observe"][-2:]
    worst = [row["id"] for rows in last for row in rows if row["list"] == "worst"]
    task = Planted(settings)
    task.split_data(task.build_data(settings), task.streams.generator("split"))
    assert set(worst[:6]) == set(task.wrong)


def test_pictures_are_always_the_same_and_hold_every_class() -> None:
    images, masks = draw_images(40)
    again, _ = draw_images(40)
    assert torch.equal(images, again)
    assert images.shape == (40, 1, 32, 32)
    shares = torch.bincount(masks.flatten(), minlength=len(CLASSES)) / masks.numel()
    assert shares[0] > 0.4
    assert (shares[1:] > 0.03).all()
    assert images[:, 0][masks > 0].mean() > images[:, 0][masks == 0].mean() + 0.5


def test_only_training_masks_are_shifted() -> None:
    def split(shift: int) -> dict[str, dict[str, torch.Tensor]]:
        task = Segment(config(data__mask_shift=shift))
        return task.split_data(task.build_data(task.config), task.streams.generator("split"))

    right, wrong = split(0), split(3)
    assert torch.equal(right["val"][MASK], wrong["val"][MASK])
    assert torch.equal(right["train"][MASK].roll((3, 3), (1, 2)), wrong["train"][MASK])
    assert torch.equal(right["train"][IMAGE], wrong["train"][IMAGE])


def test_augmentation_mirrors_image_and_mask_together() -> None:
    _, masks = draw_images(64)
    task = Segment(config())
    batch = {IMAGE: masks[:, None].float(), MASK: masks}
    moved = task.augment(batch, SampleDraws(Streams(0), 0, torch.arange(64)))
    assert torch.equal(moved[IMAGE][:, 0].long(), moved[MASK])
    unchanged = (moved[MASK] == masks).flatten(1).all(dim=1).float().mean()
    assert 0.05 < float(unchanged) < 0.5


def test_mean_iou_of_small_cases() -> None:
    truth = torch.tensor([[[0, 0], [1, 1]], [[2, 2], [2, 2]], [[0, 0], [0, 0]]])
    said = torch.tensor([[[0, 1], [1, 1]], [[2, 2], [2, 2]], [[1, 1], [1, 1]]])
    expected = torch.tensor([(1 / 2 + 2 / 3) / 2, 1.0, 0.0])
    assert torch.allclose(mean_iou(said, truth, 4), expected)


def test_dice_loss_is_least_for_the_truth() -> None:
    _, masks = draw_images(8)
    right = 20.0 * torch.nn.functional.one_hot(masks, len(CLASSES)).movedim(-1, 1).float()
    assert float(dice_loss(right, masks)) == pytest.approx(0, abs=1e-4)
    assert float(dice_loss(-right, masks)) > 0.6


def test_without_skips_the_decoder_is_narrower() -> None:
    sizes = [sum(p.numel() for p in UNet(8, skips, True).parameters()) for skips in (True, False)]
    assert sizes[1] < sizes[0]
    assert UNet(8, False, False)({IMAGE: torch.zeros(2, 1, 32, 32)})[LOGITS].shape == (2, 4, 32, 32)


def test_an_unknown_numbering_is_named() -> None:
    with pytest.raises(ValueError, match=r"data\.numbering is 'odd'; valid: ascending, descending"):
        run_local(Segment, config(data__numbering="odd"), max_length=1)
