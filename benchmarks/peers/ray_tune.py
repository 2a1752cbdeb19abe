"""A function trainable of Ray Tune, a CPU each, two at a time; variants `fifo` and `asha`, the scheduler."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from peercase import AT_A_TIME, answer, cannot, from_arguments


def trainable(config: dict[str, Any]) -> None:
    """One trial."""
    from peercase import train
    from ray import tune

    def report(epoch: int, loss: float) -> bool:
        tune.report({"epoch": epoch, "loss": loss})
        return False

    train(config["peer"], report)


def main() -> None:
    case, variant = from_arguments()
    if case.workers > 1:
        cannot("several workers per trial are Ray Train's: see Ray's documented recipe")
        return
    import ray
    from ray import tune

    from_here = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    ray.init(
        address="local",
        num_cpus=AT_A_TIME,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": from_here}},
    )
    asha = tune.schedulers.AsyncHyperBandScheduler(time_attr="epoch", max_t=case.epochs, grace_period=1)
    with tempfile.TemporaryDirectory() as folder:
        tuner = tune.Tuner(
            tune.with_resources(trainable, {"CPU": 1}),
            param_space={"peer": tune.grid_search(case.configs())},
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
    whole = {trial: float(said["loss"]) for trial, said in last.items() if said["epoch"] == case.epochs}
    answer(whole, len(last) - len(whole))


if __name__ == "__main__":
    main()
