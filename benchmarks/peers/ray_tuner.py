"""What both ways of Ray have in common: a Ray of their own, and a Tuner over the trials, two at a time."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from peercase import AT_A_TIME, Case, answer


def run_tuner(case: Case, variant: str, trainable: Callable[..., None], cpus: float, **of_ray: Any) -> None:
    """Run a trainable with `cpus` for each trial under `variant`, and say how it ended.

    `of_ray`: what `ray.init` is told. The trainable finds the trial in `peer`, a directory in `storage`.
    """
    import ray
    from ray import tune

    from_here = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    variables = {"env_vars": {"PYTHONPATH": from_here}}
    ray.init(address="local", log_to_driver=False, runtime_env=variables, **of_ray)
    asha = tune.schedulers.AsyncHyperBandScheduler(time_attr="epoch", max_t=case.epochs, grace_period=1)
    with tempfile.TemporaryDirectory() as folder:
        tuner = tune.Tuner(
            tune.with_resources(trainable, {"CPU": cpus}),
            param_space={"peer": tune.grid_search(case.configs()), "storage": folder},
            tune_config=tune.TuneConfig(
                metric="loss",
                mode="min",
                scheduler=asha if variant == "asha" else None,
                max_concurrent_trials=AT_A_TIME,
            ),
            run_config=tune.RunConfig(name="peers", storage_path=folder, verbose=0),
        )
        found = [result for result in tuner.fit() if result.error is None and result.metrics]
    ray.shutdown()
    last = {result.config["peer"]["trial"]: result.metrics for result in found}
    whole = {trial: float(said["loss"]) for trial, said in last.items() if said.get("epoch") == case.epochs}
    answer(whole, len(last) - len(whole))
