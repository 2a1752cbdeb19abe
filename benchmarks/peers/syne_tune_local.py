"""Syne Tune with its local back end, which starts a process for every trial (`none`, `asha`)."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from peercase import ARMS, AT_A_TIME, SEEDS, answer, cannot, from_arguments, use_one_thread

TRIAL = Path(__file__).with_name("syne_tune_trial.py")


def scheduler_of(variant: str, space: dict[str, Any], epochs: int) -> Any:
    """The trials in their order; Syne Tune's own settings, but for the length of a trial."""
    from syne_tune.optimizer.baselines import RandomSearch
    from syne_tune.optimizer.schedulers.asha import AsynchronousSuccessiveHalving

    trials = [{"number": number} for number in range(len(ARMS) * SEEDS)]
    if variant == "asha":
        return AsynchronousSuccessiveHalving(
            space,
            metric="loss",
            time_attr="epoch",
            max_t=epochs,
            random_seed=0,
            searcher_kwargs={"points_to_evaluate": trials},
        )
    return RandomSearch(space, metrics=["loss"], random_seed=0, points_to_evaluate=trials)


def main() -> None:
    case, variant = from_arguments()
    if case.workers > 1:
        cannot("the local back end starts one process per trial")
        return
    use_one_thread()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SYNETUNE_FOLDER"] = folder
        from syne_tune import StoppingCriterion, Tuner
        from syne_tune.backend import LocalBackend
        from syne_tune.config_space import choice

        values = Path(folder) / "values.jsonl"
        space = {
            "number": choice(list(range(len(ARMS) * SEEDS))),
            "case": str(case),
            "values": str(values),
        }
        Tuner(
            trial_backend=LocalBackend(entry_point=str(TRIAL)),
            scheduler=scheduler_of(variant, space, case.epochs),
            stop_criterion=StoppingCriterion(max_num_trials_started=len(ARMS) * SEEDS),
            n_workers=AT_A_TIME,
            wait_trial_completion_when_stopping=True,
            suffix_tuner_name=False,
            tuner_name="peers",
        ).run()
        lines = values.read_text().splitlines() if values.exists() else []
    done = dict(json.loads(line) for line in lines)
    answer(done, len(ARMS) * SEEDS - len(done) if variant == "asha" else 0)


if __name__ == "__main__":
    main()
