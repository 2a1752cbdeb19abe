"""Optuna as its documentation spreads a study over processes: two of them, one SQLite file, trials enqueued.

Variants: `none`, `median`, `hyperband`, the pruner.
"""

from __future__ import annotations

import multiprocessing
import tempfile
from pathlib import Path
from typing import Any

import optuna
from peercase import AT_A_TIME, Case, answer, cannot, from_arguments, train, use_one_thread


def pruner_of(variant: str, epochs: int) -> optuna.pruners.BasePruner:
    """Optuna's own settings, but for the length of a trial."""
    if variant == "median":
        return optuna.pruners.MedianPruner()
    if variant == "hyperband":
        return optuna.pruners.HyperbandPruner(max_resource=epochs)
    return optuna.pruners.NopPruner()


def loaded(url: str, variant: str, epochs: int) -> optuna.Study:
    """The study, in whichever process."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.RandomSampler(seed=0)  # draws nothing: every trial is enqueued
    return optuna.load_study(
        study_name="peers", storage=url, sampler=sampler, pruner=pruner_of(variant, epochs)
    )


def work(url: str, variant: str, word: str) -> None:
    """Take trials until none is left."""
    case = Case.of(word)
    configs = {config["trial"]: config for config in case.configs()}

    def objective(trial: optuna.Trial) -> float:
        if trial.number >= len(configs):  # the other process took the last one meanwhile
            raise optuna.TrialPruned
        config = configs[trial.suggest_categorical("trial", list(configs))]

        def report(epoch: int, loss: float) -> bool:
            trial.report(loss, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
            return False

        return train(config, report)

    study = loaded(url, variant, case.epochs)
    while any(each.state is optuna.trial.TrialState.WAITING for each in study.get_trials(deepcopy=False)):
        study.optimize(objective, n_trials=1)


def main() -> None:
    case, variant = from_arguments()
    if case.workers > 1:
        cannot("an objective runs in one process")
        return
    use_one_thread()
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'study.db'}"
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(storage=url, study_name="peers", direction="minimize")
        for config in case.configs():
            study.enqueue_trial({"trial": config["trial"]})
        context = multiprocessing.get_context("spawn")
        processes: list[Any] = [
            context.Process(target=work, args=(url, variant, str(case))) for _ in range(AT_A_TIME)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        trials = study.trials[: len(case.configs())]
    done = {
        str(each.params["trial"]): float(each.value)
        for each in trials
        if each.state is optuna.trial.TrialState.COMPLETE and each.value is not None
    }
    pruned = sum(each.state is optuna.trial.TrialState.PRUNED for each in trials)
    answer(done, pruned)


if __name__ == "__main__":
    main()
