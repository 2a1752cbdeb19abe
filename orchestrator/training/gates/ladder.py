"""The gates in order. What a gate cannot stand on, because an earlier one failed, is skipped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from orchestrator.training.gates import (
    arms,
    data,
    gradients,
    layers,
    learning,
    lr_range,
    overfit,
    repeat,
    sets,
    speed,
)
from orchestrator.training.gates.bench import Bench, HookFault, NotShown
from orchestrator.training.gates.results import GateResult, GateVerdict, failed, skipped
from orchestrator.training.session import Diverged
from orchestrator.training.streams import preserved_random_state

Gate = Callable[[Bench], GateVerdict]


_APART = "needs a process of its own, which the command starts"
GATES: tuple[tuple[str, str, Gate], ...] = (
    ("A1", "look at the data", data.look),
    ("A2", "separate sets", sets.separate),
    ("A3", "size of the model", layers.size),
    ("A4", "loss at the start", learning.initial_loss),
    ("A5", "inputs matter", overfit.inputs_matter),
    ("A6", "overfits one sample", partial(overfit.overfits, count=1)),
    ("A7", "overfits eight samples", partial(overfit.overfits, count=overfit.FEW)),
    ("A8", "gradients", gradients.gradients),
    ("A9", "time of a step", speed.step_time),
    ("A10", "repeats bit for bit", repeat.repeats),
    ("A11", "warm equals cold", lambda _: skipped(_APART)),
    ("A12", "every arm acts", arms.every_arm),
    ("A14", "generalises at all", learning.generalises),
)
"""Number in docs/check.md, name, and function."""
FIRST = "A1"
"""Where this one fails, nothing else can be asked."""


LR_FIND = (("A13", "learning rate", lr_range.find_rate),)
"""What `orchestrate lr-find` asks."""
PROFILE = (
    ("P1", "what the layers cost", layers.profile),
    ("P2", "where the time goes", speed.bottleneck),
    ("P3", "trace of the profiler", speed.trace),
)
"""What `orchestrate profile` asks."""


def climb(
    bench: Bench | str,
    announce: Callable[[str, str], None] = lambda *_: None,
    gates: tuple[tuple[str, str, Gate], ...] = GATES,
    without: Mapping[str, str] | None = None,
) -> Iterator[GateResult]:
    """Yield the result of each gate as soon as it is there.

    `bench` is what the gates look at, or why none can be asked. `announce` hears of number and name before a
    gate is asked; `without` names gates that are skipped, and why.
    """
    missing = without or {}
    broken = bench if isinstance(bench, str) else ""
    for number, title, gate in gates:
        announce(number, title)
        start = time.perf_counter()
        reason = broken or missing.get(number)
        verdict = skipped(reason or "") if reason or isinstance(bench, str) else ask(gate, bench)
        if number == FIRST and verdict.state == "fail":
            broken = f"{FIRST} failed"
        yield GateResult(number, title, verdict, time.perf_counter() - start)


def ask(gate: Gate, bench: Bench) -> GateVerdict:
    """Return the gate's verdict; what it trips over in the task is one too."""
    try:
        with preserved_random_state():
            return gate(bench)
    except NotShown as reason:
        return skipped(str(reason))
    except HookFault as fault:
        return failed(f"{fault.hook}: {fault.message}", fault.fix)
    except Diverged as error:
        cause = "the learning rate is too high: try orchestrate lr-find"
        return failed(str(error), cause, "log(0) or a division by 0")
    except Exception as error:  # the task's code runs in here: whatever it raises is the answer
        said = " ".join(str(error).split()) or type(error).__name__
        return failed(f"it ends with {type(error).__name__}: {said}", "see the message")
