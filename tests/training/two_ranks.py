"""One rank of a data-parallel trial, run as a process of its own: `two_ranks.py RANK STORE OUT [RESUME]`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from memorysink import MemorySink
from toy import Adversarial, KnownToy, Toy, config, weights
from watched import Measured

from orchestrator.training.local import LocalSession
from orchestrator.training.loop import Trainer, run_task
from orchestrator.training.ranks import average_gradients, unwrapped
from orchestrator.training.session import Diverged

torch.set_num_threads(1)
MODES = {"plain": {}, "accumulate": {"train__accumulate": 2, "train__report_every": 3}}


class NanOnRankOne(Toy):
    """Only one rank sees that the loss is not a number."""

    def loss(self, outputs: dict[str, torch.Tensor], batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return super().loss(outputs, batch) * (float("nan") if dist.get_rank() == 1 else 1.0)


def main(rank: int, out: Path) -> None:
    results: dict[str, object] = {}
    for mode, changes in MODES.items():
        session = make(rank, out / mode, changes, checkpoints=True)
        run_task(Toy, session)
        at = session.reports[0]["step"]
        resumed = make(rank, out / f"{mode}-resumed", changes, resume_from=session.checkpoint_path(at))
        dist.barrier()
        run_task(Toy, resumed)
        results[mode] = {"reports": session.reports, "resumed": resumed.reports}
    try:
        run_task(NanOnRankOne, make(rank, out / "nan", {}))
    except Diverged as error:
        results["diverged"] = error.step
        results["origin"] = error.origin
    scored = make(rank, out / "scored", {})
    scored.claimed = "val/accuracy"
    run_task(KnownToy, scored)
    assert scored.scores is not None
    results["scores"] = [scored.scores.ids.tolist(), scored.scores.mean, scored.reports[-1]["val/accuracy"]]
    results["mean gradients"] = mean_gradients(rank)
    results["adversarial"] = adversarial(rank, out / "adversarial")
    results["measured"] = measure(make(rank, out / "measured", {}))
    (out / f"rank-{rank}.json").write_text(json.dumps(results))


def mean_gradients(rank: int) -> list[object]:
    """Of parameters of two types, some of which no rank or one rank has used."""
    ours = [
        torch.zeros(2, dtype=dtype) for dtype in (torch.float32, torch.float64, torch.float64, torch.float32)
    ]
    for parameter, grad in zip(
        ours, ([rank, 2.0], None if rank else [3.0, 4.0], None, [rank, rank]), strict=True
    ):
        parameter.grad = None if grad is None else torch.tensor(grad, dtype=parameter.dtype)
    average_gradients(ours, 2)
    return [None if each.grad is None else each.grad.tolist() for each in ours]


def adversarial(rank: int, folder: Path) -> list[object]:
    """Weights after a trial with several optimizers, whole and resumed, and what it has reported."""
    changes = {"train__accumulate": 2, "train__report_every": 3, "train__clip": 0.1}
    session = make(rank, folder, changes, checkpoints=True)
    whole = Trainer(Adversarial(session.config), session)
    whole.run()
    path = session.checkpoint_path(session.reports[0]["step"])
    resumed = Trainer(Adversarial(session.config), make(rank, folder, changes, resume_from=path))
    resumed.run()
    both = [[value.tolist() for value in weights(trained)] for trained in (whole, resumed)]
    return [*both, session.reports, resumed.session.reports]  # type: ignore[attr-defined]


def measure(session: LocalSession) -> dict[str, object]:
    """Everything that is measured on the validation set by untrained weights, the monitors' part included."""
    sink = session.sink = MemorySink()
    session.monitors = ("metrics", "confusion", "curves", "best_worst", "predictions")
    trainer = Trainer(Measured(session.config), session)
    trainer._build()
    assert trainer.watch.start_pass(1, last=True)
    report = trainer.validator.full(unwrapped(trainer.model), trainer.watch)
    curves = {
        f"{e.tag}/{name}": count.tolist()
        for e in sink.entries
        if e.kind == "pr_curve"
        for name, count in e.value.items()
    }
    histograms = {e.tag: sorted(e.value.tolist()) for e in sink.entries if e.kind == "histogram"}
    rows = [row for entry in sink.entries if entry.kind == "observe" for row in entry.value]
    return {
        "report": report,
        "scalars": sink.last_scalars(),
        "rows": rows,
        "curves": curves,
        "histograms": histograms,
    }


def make(rank: int, folder: Path, changes: dict[str, object], **kwargs: object) -> LocalSession:
    return LocalSession(
        config=config(data__batch_size=4, **changes),
        max_length=2,
        trial_dir=str(folder),
        world_rank=rank,
        world_size=2,
        local_rank=rank,
        **kwargs,  # type: ignore[arg-type]
    )


if __name__ == "__main__":
    dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=int(sys.argv[1]), world_size=2)
    main(int(sys.argv[1]), Path(sys.argv[3]))
    dist.barrier()
    # the results are on disk; gloo's threads do not have to end with the interpreter, which sometimes aborts
    os._exit(0)
