"""Studies run from Python: with a Ray of their own, and with one that is there already."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator import Study, open_study
from orchestrator.errors import ClusterUnavailable, ExitCode

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def there(shared_ray: str) -> Iterator[str]:
    """A Ray that somebody has initialised before any study, by its address."""
    import ray

    ray.init(address=shared_ray, log_to_driver=False)
    yield shared_ray
    ray.shutdown()


def run(study: dict[str, Any], name: str, **options: Any) -> ExitCode:
    result = Study.from_dict({**study, "name": name}).run(progress="none", check=False, **options)
    assert result.counts == {"done": 4}
    return result.exit_code


@pytest.mark.long
def test_a_ray_of_its_own_ends_with_the_study(study: dict[str, Any]) -> None:
    import ray

    assert not ray.is_initialized(), "before the tests that share one"
    variables = dict(os.environ)
    assert run(study, "alone") is ExitCode.DONE
    assert not ray.is_initialized()
    assert run(study, "alone") is ExitCode.DONE  # nothing is left: no Ray is started
    assert open_study("alone").view().plan.study == "alone"
    assert dict(os.environ) == variables


def test_an_initialised_ray_is_used_and_left_as_it_was(study: dict[str, Any], there: str) -> None:
    import ray

    variables = dict(os.environ)
    levels = {name: logging.getLogger(name).level for name in ("ray", "ray.tune", "ray.train")}
    assert run(study, "first") is ExitCode.DONE
    assert ray.get_runtime_context().gcs_address == there
    assert dict(os.environ) == variables
    assert {name: logging.getLogger(name).level for name in levels} == levels

    @ray.remote(num_cpus=2)
    def whole() -> bool:
        return True

    assert ray.get(whole.remote(), timeout=120)  # nothing of the study holds a part of the machine


@pytest.mark.long
def test_from_another_thread_with_an_event_loop(study: dict[str, Any], there: str) -> None:
    async def cell() -> ExitCode:
        return run(study, "second", address=there)

    codes: list[ExitCode] = []
    thread = threading.Thread(target=lambda: codes.append(asyncio.run(cell())))
    thread.start()
    thread.join()
    assert codes == [ExitCode.DONE]


def test_another_cluster_than_the_one_that_is_there_is_refused(study: dict[str, Any], there: str) -> None:
    with pytest.raises(ClusterUnavailable, match=f"connected to the Ray at {there} already"):
        run(study, "elsewhere", address="10.0.0.7:6379")
