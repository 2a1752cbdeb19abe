"""A Hugging Face Trainer in a script: which of two tokens came first, by a tiny BERT with random weights."""

import argparse

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments, set_seed


def main():
    """Train, and evaluate after every epoch; the Trainer prints what it logs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--learning_rate", type=float, default=3e-3)
    parser.add_argument("--weight_decay", type=float, default=0.01)
    parser.add_argument("--no_positions", action="store_true", help="tokens have no places")
    parser.add_argument("--num_train_epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output_dir", default="out")
    args = parser.parse_args()
    set_seed(args.seed)
    torch.set_num_threads(1)
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=4,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=8,
            initializer_range=0.2,
        )
    )
    if args.no_positions:
        model.bert.embeddings.position_embeddings.weight.data.zero_()
        model.bert.embeddings.position_embeddings.weight.requires_grad_(False)
    Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=args.output_dir,
            num_train_epochs=args.num_train_epochs,
            learning_rate=args.learning_rate,
            weight_decay=args.weight_decay,
            per_device_train_batch_size=32,
            eval_strategy="epoch",
            save_strategy="no",
            seed=args.seed,
            use_cpu=True,
            report_to="none",
        ),
        train_dataset=pairs(1200, args.seed),
        eval_dataset=pairs(300, 1_000_000 + args.seed),
        compute_metrics=lambda p: {"accuracy": float((p.predictions.argmax(-1) == p.label_ids).mean())},
    ).train()


def pairs(count, seed):
    """Token 2 before token 3, or the other way round, among others."""
    random = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        first, second = sorted(torch.randperm(8, generator=random)[:2].tolist())
        label = int(torch.randint(2, (1,), generator=random))
        tokens = torch.randint(2, (8,), generator=random)
        tokens[first], tokens[second] = (2, 3) if label else (3, 2)
        found.append({"input_ids": tokens, "labels": label})
    return found


if __name__ == "__main__":
    main()
