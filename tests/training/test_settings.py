import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.training.settings import OptimSettings, loop_settings, optim_settings


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"train": {"precision": "fp8"}}, "train.precision is 'fp8'; valid: fp32, bf16, fp16"),
        ({"train": {"accumulate": 0}}, "train.accumulate is 0; valid: a whole number from 1 on"),
        ({"train": {"clip": -1.0}}, "train.clip is -1.0; valid: a number above 0"),
        ({"train": {"val_batch_every": "often"}}, "valid: auto or a whole number from 0 on"),
        ({"train": {"report_every": 0}}, "train.report_every is 0; valid: a whole number from 1 on"),
        ({"train": {"precison": "bf16"}}, "does not know train.precison"),
        ({"train": 3}, "train must be a mapping"),
        ({"data": {"batch_size": True}}, "data.batch_size is True"),
    ],
)
def test_the_loop_refuses(config: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loop_settings(config)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"name": "lion"}, "optim.name is 'lion'; valid: sgd, adam, adamw"),
        ({"lr": "fast"}, "optim.lr is 'fast'; valid: a number from 0 on"),
        ({"schedule": "step"}, "optim.schedule is 'step'; valid: constant, cosine, linear"),
        ({"nesterov": True}, "does not know optim.nesterov"),
    ],
)
def test_the_optimizer_refuses(section: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        optim_settings({"optim": section})


def test_a_tasks_own_optimizer_may_read_its_own_keys() -> None:
    assert optim_settings({"optim": {"name": "lion", "beta": 0.5}}, extra_keys=True).name == "lion"


@given(
    st.sampled_from(["constant", "cosine", "linear"]),
    st.one_of(st.floats(0, 0.9), st.integers(1, 50)),
    st.integers(2, 200),
)
def test_a_schedule_rises_and_falls_within_zero_to_one(schedule: str, warmup: float, total: int) -> None:
    optim = OptimSettings(schedule=schedule, warmup=warmup)
    factors = [optim.factor(step / total, step) for step in range(total)]
    assert all(0.0 <= factor <= 1.0 for factor in factors)
    top = factors.index(max(factors))
    assert factors[: top + 1] == sorted(factors[: top + 1])
    assert factors[top:] == sorted(factors[top:], reverse=True)


def test_schedules_by_number() -> None:
    assert OptimSettings(schedule="linear").factor(0.25, 1) == pytest.approx(0.75)
    assert OptimSettings(schedule="cosine").factor(0.5, 2) == pytest.approx(0.5)
    assert OptimSettings(schedule="cosine", warmup=4).factor(0.0, 0) == pytest.approx(0.25)
    assert OptimSettings(schedule="linear", warmup=0.5).factor(0.75, 3) == pytest.approx(0.5)
