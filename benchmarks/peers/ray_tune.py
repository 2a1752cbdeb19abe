"""A function trainable of Ray Tune, a CPU each, two at a time; variants `fifo` and `asha`, the scheduler."""

from __future__ import annotations

from typing import Any

from peercase import AT_A_TIME, cannot, from_arguments
from ray_tuner import run_tuner


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
    run_tuner(case, variant, trainable, 1, num_cpus=AT_A_TIME, include_dashboard=False)


if __name__ == "__main__":
    main()
