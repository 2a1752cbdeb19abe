"""The driver's side: an embedded Ray without unused processes, and Tune's cache of idle lanes."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import ray

log = logging.getLogger(__name__)

# The controller of a lane reads these when it is built. Set in the trial actor's own process.
LANE_ENVIRONMENT = {
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # a process per lane; nodes that drain are seen by the driver
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",  # a trial's output goes to its log.txt
    "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "PL_DISABLE_FORK": "1",  # as Tune sets it for its trial actors
}


EMBEDDED = "ORCHESTRATOR_EMBEDDED_RAY"  # set in every process of a Ray that the driver started itself


def configure_lane_process() -> None:
    """Set what Ray Train reads from the environment in the process that runs the controller.

    Each of its looks at a worker is a call that costs more than a report: no more than finding a dead one
    needs.
    """
    os.environ.update(LANE_ENVIRONMENT, RAY_TRAIN_HEALTH_CHECK_INTERVAL_S="0.5")


@contextmanager
def token_by_default() -> Iterator[None]:
    """Let a Ray that is started here ask for a token, as it does by itself from 2.59 on.

    What `RAY_AUTH_MODE` says is obeyed. Afterwards it says nothing again: the next Ray of this process may be
    a cluster that takes no token.
    """
    if "RAY_AUTH_MODE" in os.environ:
        yield
        return
    os.environ["RAY_AUTH_MODE"] = "token"
    _read_token_anew()
    try:
        yield
    finally:
        os.environ.pop("RAY_AUTH_MODE", None)
        _read_token_anew()


def _read_token_anew() -> None:
    """Ray's C++ part has kept the mode, and the token or that there is none, since it was asked first."""
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined] # of the C++ part

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


_UNUSED_HEAD_PROCESSES = ("start_api_server", "start_monitor", "start_log_monitor")
_MAKES_AGENT_SMALL = "get_dashboard_dependency_error"


@contextmanager
def embedded_ray() -> Iterator[None]:
    """`ray.init(address="local")` in this context starts no API server, no autoscaler and no log monitor.

    And an agent without what only a dashboard asks. Without these names in Ray, the stock processes are
    started.
    """
    from ray._private import utils
    from ray._private.node import Node

    with ExitStack() as stack:
        for owner, name, instead in (
            *((Node, name, lambda *_args, **_kwargs: None) for name in _UNUSED_HEAD_PROCESSES),
            (utils, _MAKES_AGENT_SMALL, lambda: ImportError("no dashboard")),
        ):
            if hasattr(owner, name):
                stack.callback(setattr, owner, name, getattr(owner, name))
                setattr(owner, name, instead)
        yield


@contextmanager
def lanes_from_pool() -> Iterator[None]:
    """On an embedded Ray, let trial actors in this context come from its pool.

    Tune gives them a runtime environment, of variables that they inherit from the driver anyway. With it
    every process of a lane is a fresh one, that imports Ray twice.
    """
    from ray.tune.execution import class_cache

    cache = class_cache._ActorClassCache
    stock = cache.get

    def get(self: Any, trainable: type) -> Any:
        if trainable not in self._cache:
            self._cache[trainable] = ray.remote(trainable)
        return self._cache[trainable]

    if os.environ.get(EMBEDDED):
        cache.get = get
    try:
        yield
    finally:
        cache.get = stock


@contextmanager
def ray_off_stdout() -> Iterator[None]:
    """Ray prints what raylets complain about on stdout, whatever `log_to_driver` says; stdout is for data.

    The driver says itself what happened to a worker; Ray's words go to the log.
    """
    from ray._private import worker

    before = getattr(worker, "print_to_stdstream", None)

    def to_log(data: dict[str, Any], *_: Any, **__: Any) -> None:
        for line in data.get("lines", ()):
            log.info("%s: %s", data.get("pid"), line)

    if before is not None:
        worker.print_to_stdstream = to_log
    try:
        yield
    finally:
        if before is not None:
            worker.print_to_stdstream = before


def running_here() -> str | None:
    """Return the address that Ray takes `auto` for; None where it finds none."""
    from ray._private import services

    try:
        found: str | None = services.canonicalize_bootstrap_address("auto")
    except Exception:
        return None  # Ray says in its own words that there is none
    return found


class IdleLanes:
    """How many idle trial actors (warm lanes) Tune keeps beyond those that a pending trial asks for.

    Left alone, Tune ends every second lane when two trials end at the same moment, and always keeps one. But
    a lane that is kept holds its workers' resources: a trial that lost its own node would wait for them for
    ever. When Ray has changed and the cache is not there, lanes are started again where Tune ended them.
    """

    def __init__(self) -> None:
        self.allowed = 0

    def allow(self, tune_controller: Any, trial: Any, lanes: int) -> None:
        """Keep up to `lanes` idle ones from now on; Tune ends those above it in its next step."""
        cache = getattr(tune_controller, "_actor_cache", None)
        if cache is None or not hasattr(cache, "increase_max"):
            return
        cache._may_keep_one = False
        cache.increase_max(trial.placement_group_factory, by=lanes - self.allowed)
        self.allowed = lanes
