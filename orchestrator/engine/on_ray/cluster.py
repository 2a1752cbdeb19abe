"""The connection to Ray: embedded by default, or a running cluster by its address."""

from __future__ import annotations

import gc
import ipaddress
import logging
import os
import socket
import stat
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import AuthenticationError

from orchestrator.engine.capacity import ANY, Node
from orchestrator.engine.ray_private.head import (
    EMBEDDED,
    LANE_ENVIRONMENT,
    embedded_ray,
    ray_off_stdout,
    token_by_default,
)
from orchestrator.errors import ClusterUnavailable, Fault, StudyError
from orchestrator.study.spec import ResourcesSpec

log = logging.getLogger(__name__)

# Read by Ray when it starts. Tune's own loggers and its Ctrl-C handling are ours.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
    "TUNE_MAX_PENDING_TRIALS_PG": "1000",  # the searcher hands out no more than the lanes can hold
    "TUNE_WARN_THRESHOLD_S": "10",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}


SET_BY_RAY = ("PYTHONBREAKPOINT",)
"""Variables that `ray.init` sets, and that somebody else's code would find afterwards."""
KNOCK_TIMEOUT_S = 5.0
DATASETS_CPUS = 1.0
"""CPUs of every node that stay free for the tasks of Ray Data in a study with `datasets`."""

MODE, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"
ADVICE = (
    "Copy the token of the cluster (`ray get-auth-token` on its head prints it) into ~/.ray/auth_token with "
    f"mode 0600, or name its file in {TOKEN_PATH}, and set {MODE}=token."
)


@contextmanager
def connected(address: str | None) -> Iterator[bool]:
    """Ray while the block lasts; yields whether its cluster may grow, so that a study can wait for nodes.

    A Ray that is initialised in this process already is used and left as it was found. Otherwise one is
    started on this machine, or the cluster at `address` connected to, and left at the end.

    Raises:
        ClusterUnavailable: no cluster answers at `address`, it does not take our token, or this process is
            connected to another one.
    """
    with ExitStack() as stack:
        stack.enter_context(_quiet())
        if ray.is_initialized():
            _refuse_another(address)
            stack.enter_context(_environment({}))
            stack.callback(gc.collect)  # handles of actors: see below
            yield True
            return
        here: dict[str, str | None] = {**LANE_ENVIRONMENT, EMBEDDED: "1"}
        stack.enter_context(_environment(here if address is None else {EMBEDDED: None}))
        stack.enter_context(ray_off_stdout())
        if address is None:
            stack.enter_context(token_by_default())
        stack.callback(ray.shutdown)
        # A handle that is found to be garbage later would end the actor of the same id in the next Ray of
        # this process: every cluster counts its ids from the same beginning.
        stack.callback(gc.collect)
        _connect(address)
        stack.enter_context(_quiet())  # once more: Ray sets levels when it starts
        keep_token_private()
        warning = unprotected(address)
        if warning:
            log.warning(warning)
        yield address is not None


def _connect(address: str | None) -> None:
    if address is not None:
        _knock(address)
    options: dict[str, Any] = {
        "namespace": f"orchestrator-{os.getpid()}",
        "logging_level": logging.ERROR,
        "log_to_driver": False,
        "configure_logging": True,
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if address is None:
                with embedded_ray():
                    ray.init(address="local", include_dashboard=False, **options)
            else:
                ray.init(address=address, **options)
    except AuthenticationError as error:
        first = str(error).strip().partition("\n")[0]
        raise ClusterUnavailable(f"the cluster at {address} refuses us: {first} {ADVICE}") from error
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        what = f"no Ray cluster answers at {address}" if address else "Ray could not start on this machine"
        raise ClusterUnavailable(f"{what}: {error}. `orchestrate doctor` shows what is missing.") from error


def _refuse_another(address: str | None) -> None:
    """Refuse the Ray of this process where another cluster was asked for."""
    here = ray.get_runtime_context().gcs_address
    if address not in (None, "auto", here):
        raise ClusterUnavailable(
            f"this process is connected to the Ray at {here} already, and {address} was asked for: leave the "
            "address out to use the one that is there, or call ray.shutdown() first"
        )


@contextmanager
def _environment(needed: Mapping[str, str | None]) -> Iterator[None]:
    """`ENVIRONMENT` where nothing else is set, `needed` in any case (None: not set), and then as before."""
    before = {name: os.environ.get(name) for name in (*ENVIRONMENT, *needed, *SET_BY_RAY)}
    _set({name: value for name, value in ENVIRONMENT.items() if before[name] is None} | dict(needed))
    try:
        yield
    finally:
        _set(before)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _knock(address: str) -> None:
    """Ray itself tries for minutes and prints a page; a port that nobody listens on is known at once."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdecimal():
        return  # "auto", or a name that Ray resolves
    try:
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_TIMEOUT_S).close()
    except OSError as error:
        raise ClusterUnavailable(
            f"no Ray cluster answers at {address}: {error.strerror or error}. Is the head up, and is this "
            "its GCS address (host:port, 6379 unless told otherwise)?"
        ) from error


# Ray's own loggers speak only when something is wrong. A lane that ends is an error to Tune; what becomes of
# its trial is said by us.
_LEVELS = dict.fromkeys(("ray", "ray.train", "ray.data"), logging.ERROR) | {"ray.tune": logging.CRITICAL}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray quiet: what people read is ours."""
    before = {name: logging.getLogger(name).level for name in _LEVELS}
    for name, level in _LEVELS.items():
        logging.getLogger(name).setLevel(level)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def gpus_per_worker(resources: ResourcesSpec) -> float:
    """Return the setting, with `auto` read as one GPU per worker where the cluster has any.

    Raises `StudyError` for `auto` on a cluster that has no node for trials yet.
    """
    if resources.gpus_per_worker == "auto":
        offered = ray.cluster_resources()
        if resources.accelerator_type or offered.get("GPU", 0) >= 1:
            return 1.0
        if offered.get("CPU", 0) == 0:
            raise StudyError(
                Fault(
                    "gpus_per_worker: auto cannot be read off a cluster that has no node for trials yet",
                    field="resources.gpus_per_worker",
                    hint="say how many GPUs a worker needs: 1, or 0 for none",
                )
            )
        return 0.0
    return float(resources.gpus_per_worker)


def nodes(kept_cpus: float = 0.0) -> list[Node]:
    """All nodes that the cluster has had, dead ones included; `kept_cpus` of each stay free."""
    return [
        Node(
            id=node["NodeID"],
            address=node["NodeManagerAddress"],
            cpus=max(0.0, node["Resources"].get("CPU", 0.0) - kept_cpus),
            gpus=node["Resources"].get("GPU", 0.0),
            alive=node["Alive"],
            accelerator=_accelerator(node["Resources"]),
        )
        for node in ray.nodes()
    ]


def ask_for(bundles: Sequence[Mapping[str, float]]) -> None:
    """Tell the autoscaler, if there is one, what the study could use now; an empty list: nothing."""
    from ray.autoscaler.sdk import request_resources

    request_resources(bundles=[dict(bundle) for bundle in bundles])


def _accelerator(resources: Mapping[str, float]) -> str:
    names = [key.partition(":")[2] for key in resources if key.startswith("accelerator_type:")]
    return names[0] if names else ANY


def token_file() -> Path:
    """Where Ray looks for the token of this user."""
    named = os.environ.get(TOKEN_PATH)
    return Path(named) if named else Path.home() / ".ray" / "auth_token"


def keep_token_private() -> None:
    """Ray writes the token as the umask says; only its owner may read it."""
    path = token_file()
    if path.is_file() and path.stat().st_uid == os.getuid() and stat.S_IMODE(path.stat().st_mode) & 0o077:
        path.chmod(0o600)


def unprotected(address: str | None) -> str | None:
    """Return what to tell the user about a cluster that asks for no token where others reach it; None when
    safe.
    """
    if address is None or os.environ.get(MODE, "").lower() == "token" or _is_loopback(address):
        return None
    return (
        f"{address} is used without a token: everybody who reaches its ports may run code there as its user. "
        f"Start it with {MODE}=token on every node. {ADVICE}"
    )


def _is_loopback(address: str) -> bool:
    host = address.removeprefix("ray://").rpartition(":")[0].strip("[]") or address
    if host in ("localhost", "local"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
