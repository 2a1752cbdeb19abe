"""Gradient boosting with a callback for every tree, as boosting libraries have it: here scikit-learn's."""

import argparse
import json

import numpy as np
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.metrics import mean_squared_error

parser = argparse.ArgumentParser()
parser.add_argument("--num_boost_round", type=int, default=40)
parser.add_argument("--eta", type=float, default=0.2)
parser.add_argument("--max_depth", type=int, default=3)
parser.add_argument("--subsample", type=float, default=1.0)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--log", default="eval.jsonl")
args = parser.parse_args()

rng = np.random.default_rng(args.seed)
x = rng.uniform(-1, 1, (600, 4))
y = np.sign(x[:, 0] * x[:, 1]) + 0.5 * x[:, 2] + rng.normal(0, 0.1, 600)
model = GradientBoostingRegressor(
    n_estimators=args.num_boost_round,
    learning_rate=args.eta,
    max_depth=args.max_depth,
    subsample=args.subsample,
    random_state=args.seed,
)
model.fit(x[:400], y[:400])
with open(args.log, "w") as log:
    for iteration, predicted in enumerate(model.staged_predict(x[400:])):
        rmse = mean_squared_error(y[400:], predicted) ** 0.5
        log.write(json.dumps({"iteration": iteration, "valid": {"rmse": rmse}}) + "\n")
