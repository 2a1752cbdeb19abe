import pytest
import torch
from torch import Tensor, nn

from orchestrator.training.optim import PlainOptimizer
from orchestrator.training.settings import OptimSettings

TORCH = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01, fused=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.1, weight_decay=0.01, fused=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.01, fused=True),
}


def make(name: str) -> tuple[nn.Module, PlainOptimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 1))
    return model, PlainOptimizer(model.parameters(), OptimSettings(name=name, lr=0.1, weight_decay=0.01))


def step(model: nn.Module, optimizer: object, seed: int) -> None:
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(seed))
    optimizer.zero_grad()  # type: ignore[attr-defined]
    model(x).square().mean().backward()
    optimizer.step()  # type: ignore[attr-defined]


def parameters(model: nn.Module) -> list[Tensor]:
    return [param.detach().clone() for param in model.parameters()]


@pytest.mark.parametrize("name", sorted(TORCH))
def test_the_numbers_are_torchs_bit_for_bit(name: str) -> None:
    ours, optimizer = make(name)
    theirs, _ = make(name)
    reference = TORCH[name](theirs.parameters())
    for seed in range(6):
        step(ours, optimizer, seed)
        step(theirs, reference, seed)
    assert all(map(torch.equal, parameters(ours), parameters(theirs)))


@pytest.mark.parametrize("name", sorted(TORCH))
def test_a_restored_optimizer_goes_on_bit_for_bit(name: str) -> None:
    whole, optimizer = make(name)
    for seed in range(6):
        step(whole, optimizer, seed)
    first, optimizer = make(name)
    for seed in range(3):
        step(first, optimizer, seed)
    second, restored = make(name)
    second.load_state_dict(first.state_dict())
    restored.load_state_dict(optimizer.state_dict())
    for seed in range(3, 6):
        step(second, restored, seed)
    assert all(map(torch.equal, parameters(whole), parameters(second)))


def test_another_optimizers_state_is_refused() -> None:
    _, sgd = make("sgd")
    _, adam = make("adam")
    with pytest.raises(ValueError, match="the checkpoint holds sgd over 4 parameters, the trial has adam"):
        adam.load_state_dict(sgd.state_dict())


def test_parameters_without_gradient_stay() -> None:
    model, optimizer = make("adamw")
    before = parameters(model)
    optimizer.step()
    assert all(map(torch.equal, before, parameters(model)))
    with pytest.raises(ValueError, match="no parameter to train"):
        PlainOptimizer([], OptimSettings())
