"""The Hugging Face example, in Ray Train's own local mode (one process, no cluster)."""

import shutil
from pathlib import Path
from typing import Any

import pytest

CONFIG: dict[str, Any] = {
    "seed": 0,
    "max_length": 3,
    "model": {"hidden": 16, "layers": 1, "dropout": 0.1},
    "data": {"batch_size": 64},
    "optim": {"lr": 5e-3, "weight_decay": 0.01, "warmup": 0},
}


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, resume: Path | None = None) -> list[dict[str, Any]]:
    """Reports of one run; the checkpoint of epoch n lies in folder/n."""
    pytest.importorskip("transformers")
    import ray.train
    import ray.train.torch

    from trials.hf_trainer import train

    rows: list[dict[str, Any]] = []

    def report(metrics: dict[str, Any], checkpoint: Any = None) -> None:
        rows.append(metrics)
        shutil.copytree(checkpoint.path, folder / str(metrics["epoch"]))

    def traced(config: dict[str, Any]) -> None:
        monkeypatch.setattr(ray.train, "report", report)
        checkpoint = ray.train.Checkpoint.from_directory(resume) if resume else None
        monkeypatch.setattr(ray.train, "get_checkpoint", lambda: checkpoint)
        train(config)

    trainer = ray.train.torch.TorchTrainer(
        traced,
        train_loop_config=CONFIG,
        scaling_config=ray.train.ScalingConfig(num_workers=0),
        run_config=ray.train.RunConfig(storage_path=str(folder)),
    )
    trainer.fit()
    return rows


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what transformers, accelerate and torch say to each other
def test_learns_and_resumes_exactly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = run(monkeypatch, tmp_path / "whole")
    assert [row["epoch"] for row in whole] == [1, 2, 3]
    assert whole[-1]["val/accuracy"] > 0.8
    resumed = run(monkeypatch, tmp_path / "resumed", resume=tmp_path / "whole" / "2")
    assert resumed == whole[2:]
