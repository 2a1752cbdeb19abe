"""A Hugging Face `Trainer` in a plain Ray Train function; it knows nothing of the orchestrator.

A tiny BERT with random weights (nothing is downloaded) learns which of two groups of tokens a sequence holds
more of. Config keys: model.{hidden, layers, dropout}, data.batch_size (per worker),
optim.{lr, weight_decay, warmup}; `seed` and `max_length` (epochs) are added for every trial.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import ray.train
import torch
from ray.train.huggingface.transformers import prepare_trainer
from torch.utils.data import Dataset
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    EvalPrediction,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

TOKENS, LENGTH = 16, 11


def train(config: dict[str, Any]) -> None:
    """Fine-tune for `config["max_length"]` epochs, on one worker or more."""
    set_seed(int(config["seed"]))
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=build_model(config["model"]),
            args=arguments(config, folder),
            train_dataset=Sequences(2048, seed=int(config["seed"])),
            eval_dataset=Sequences(256, seed=1_000_000),
            compute_metrics=accuracy,
            callbacks=[Report()],
        )
        trainer = prepare_trainer(trainer)
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            trainer.train()
            return
        with checkpoint.as_directory() as saved:
            trainer.train(resume_from_checkpoint=saved)


def build_model(model: dict[str, Any]) -> BertForSequenceClassification:
    """[B, LENGTH] tokens -> [B, 2]."""
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=TOKENS,
            hidden_size=model["hidden"],
            num_hidden_layers=model["layers"],
            num_attention_heads=2,
            intermediate_size=2 * model["hidden"],
            max_position_embeddings=LENGTH,
            hidden_dropout_prob=model["dropout"],
            attention_probs_dropout_prob=model["dropout"],
            initializer_range=0.2,  # 0.02 is meant for layers that are twenty times as wide
        )
    )


def arguments(config: dict[str, Any], folder: str) -> TrainingArguments:
    """Ask for an evaluation, then a checkpoint and a report, after every epoch."""
    optim = config["optim"]
    return TrainingArguments(
        output_dir=folder,
        num_train_epochs=int(config["max_length"]),
        per_device_train_batch_size=config["data"]["batch_size"],
        per_device_eval_batch_size=128,
        learning_rate=optim["lr"],
        weight_decay=optim["weight_decay"],
        warmup_steps=optim["warmup"],
        eval_strategy="epoch",
        save_strategy="epoch",
        logging_strategy="epoch",
        save_total_limit=1,
        seed=int(config["seed"]),
        use_cpu=not torch.cuda.is_available(),
        report_to="none",
        disable_tqdm=True,
    )


class Report(TrainerCallback):  # type: ignore[misc]
    """Reports what has been logged, with each worker's part of the checkpoint that was just saved."""

    def on_save(self, args: TrainingArguments, state: Any, *_: Any, **__: Any) -> None:
        """Report; called on every worker, after the evaluation."""
        logged = {key: value for row in state.log_history for key, value in row.items()}
        metrics = {
            "epoch": round(state.epoch),
            "step": state.global_step,
            "train/loss": logged["loss"],
            "val/loss": logged["eval_loss"],
            "val/accuracy": logged["eval_accuracy"],
        }
        saved = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        saved.mkdir(exist_ok=True)
        ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(saved))


class Sequences(Dataset[dict[str, torch.Tensor]]):
    """Random tokens, labelled by whether most of them are from the upper half."""

    def __init__(self, count: int, seed: int) -> None:
        random = torch.Generator().manual_seed(seed)
        self.tokens = torch.randint(TOKENS, (count, LENGTH), generator=random)
        self.labels = (self.tokens >= TOKENS // 2).sum(dim=1).gt(LENGTH // 2).long()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.tokens[index], "labels": self.labels[index]}


def accuracy(predictions: EvalPrediction) -> dict[str, float]:
    """Share of right answers over the whole validation set."""
    return {"accuracy": float((predictions.predictions.argmax(-1) == predictions.label_ids).mean())}
