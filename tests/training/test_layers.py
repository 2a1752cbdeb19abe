"""Layer by layer: FLOPs and kept bytes of a network whose costs are known."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent / "planted"))

from healthy import CONFIG, Healthy
from torch import Tensor, nn
from torch.nn import functional as F

from orchestrator.training.gates.bench import Bench
from orchestrator.training.gates.layers import in_bytes, in_flops, layer_table, measure_layers, profile
from orchestrator.training.gates.results import ArmToCheck, CheckRequest
from orchestrator.training.gates.speed import bottleneck, trace

BATCH, WIDTH = 16, 32


def bench(task: type[Healthy] = Healthy) -> Bench:
    asked = CheckRequest("healthy:Healthy", ".", 0, (), (ArmToCheck("baseline", CONFIG),))
    return Bench(task, asked, device=torch.device("cpu"))


def test_flops_and_kept_bytes_are_those_of_the_layers() -> None:
    on = bench()
    batch = on.take("train", torch.arange(BATCH))
    found = {layer.name: layer for layer in measure_layers(on, on.model(), batch)}
    product = 2 * BATCH * 8 * WIDTH
    assert found["body.0"].flops == 2 * product  # forward, and the weights' gradient: the input needs none
    assert found["head"].flops == 3 * 2 * BATCH * WIDTH * 4
    assert (found["body.0"].parameters, found["body.0"].output) == (8 * WIDTH + WIDTH, f"[{BATCH}, {WIDTH}]")
    assert found["body.1"].kept == BATCH * WIDTH * 4  # what the ReLU returns
    assert found["body.0"].kept == BATCH * 8 * 4  # what comes in
    assert found["body.1"].flops == 0


class Functional(Healthy):
    """What a module does itself, without a child, is counted as its own."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(8, 4))
            self.inner = nn.Linear(8, 8)

        def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
            return {"logits": F.relu(self.inner(batch["x"].flatten(1))) @ self.weight}

    def build_model(self, config: Any) -> nn.Module:
        return self.Net()


def test_what_a_module_does_itself_is_its_own() -> None:
    on = bench(Functional)
    found = {layer.name: layer for layer in measure_layers(on, on.model(), on.take("train", torch.arange(4)))}
    assert found["(model)"].flops == 3 * 2 * 4 * 8 * 4
    assert found["inner"].flops == 2 * 2 * 4 * 8 * 8
    assert found["(model)"].parameters == 32


def test_the_verdicts_say_it_in_a_sentence() -> None:
    said = profile(bench())
    assert said.evidence.startswith("420 parameters, ")
    memory = dict(said.tables[1].rows)
    assert memory["weights"] == memory["gradients"] == in_bytes(420 * 4)
    timed = bottleneck(bench())
    assert "the bottleneck is" in timed.evidence
    assert trace(bench()).state == "skipped"


def test_long_models_are_cut() -> None:
    on = bench()
    found = measure_layers(on, on.model(), on.take("train", torch.arange(4))) * 40
    assert layer_table(found).rows[-1][0].startswith("… ")


def test_numbers_in_words() -> None:
    assert [in_bytes(n) for n in (5, 1536, 3 << 20, 5 << 30)] == ["5 B", "1.5 KiB", "3 MiB", "5 GiB"]
    assert [in_flops(n) for n in (0, 5_000, 2.42e8, 3e9, 4e12)] == [
        *("0", "5 kFLOP", "242 MFLOP", "3 GFLOP", "4 TFLOP"),
    ]
