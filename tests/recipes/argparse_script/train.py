"""Two rings of points; a logistic regression with an argparse command line, as most scripts begin."""

import argparse
import json
from pathlib import Path

import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.5)
parser.add_argument("--batch-size", type=int, default=50)
parser.add_argument("--weight-decay", type=float, default=1e-4)
parser.add_argument("--squares", action="store_true", help="squares of the coordinates as features")
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--out", type=Path, default=Path("out"))
args = parser.parse_args()

rng = np.random.default_rng(args.seed)
radius = np.concatenate([rng.normal(1, 0.3, 300), rng.normal(2, 0.3, 300)])
angle = rng.uniform(0, 2 * np.pi, 600)
x = np.stack([radius * np.cos(angle), radius * np.sin(angle), np.ones(600)], axis=1)
y = (np.arange(600) >= 300).astype(float)
if args.squares:
    x = np.concatenate([x, x[:, :2] ** 2], axis=1)
order = rng.permutation(600)
train, val = order[:400], order[400:]
w = rng.normal(0, 0.1, x.shape[1])
args.out.mkdir(parents=True, exist_ok=True)
best = 0.0
for epoch in range(args.epochs):
    for rows in rng.permutation(train).reshape(-1, args.batch_size):
        error = 1 / (1 + np.exp(-x[rows] @ w)) - y[rows]
        w -= args.lr * (x[rows].T @ error / len(rows) + args.weight_decay * w)
    accuracy = float(((x[val] @ w > 0) == y[val]).mean())
    if accuracy > best:
        best = accuracy
        np.save(args.out / "best.npy", w)
    print(json.dumps({"epoch": epoch, "val_acc": accuracy}))
