"""The connection to Ray: embedded by default, or a running cluster by its address."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import Any

import ray
from ray import PlacementGroupID
from ray.exceptions import AuthenticationError, RayError
from ray.util import list_named_actors, placement_group_table, remove_placement_group
from ray.util.placement_group import PlacementGroup

from orchestrator.engine import gateway
from orchestrator.engine.capacity import ANY, Node
from orchestrator.engine.on_ray._machine_part import MachinePart
from orchestrator.engine.on_ray._orphans import end_orphans, mark
from orchestrator.engine.ray_private.head import (
    EMBEDDED,
    LANE_ENVIRONMENT,
    embedded_ray,
    ray_off_stdout,
    running_here,
    token_by_default,
)
from orchestrator.engine.ray_private.knock import knock
from orchestrator.engine.ray_private.machine import found_here
from orchestrator.engine.sharing import Claim, Offer, Peer, StudyRegister, Want
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


ANSWER_S = 2.0
"""For another study on the cluster, which may be about to end."""
SET_BY_RAY = ("PYTHONBREAKPOINT",)
"""Variables that `ray.init` sets, and that somebody else's code would find afterwards."""


@contextmanager
def connected(
    address: str | None,
    want: Callable[[Offer], Want] | None = None,
    note: Callable[[str], None] = log.warning,
) -> Iterator[MachinePart | None]:
    """Ray while the block lasts; yields the study's part of this machine.

    None on a cluster: that may grow, so that a study can wait for nodes.

    A Ray that is initialised in this process already is used and left as it was found. Otherwise one is
    started on this machine, or the cluster at `address` connected to, and left at the end.

    Args:
        address: of a running cluster.
        want: what to have of this machine beside other studies; None: all of it.
        note: is told with whom it is shared, and what is waited for.

    Raises:
        ClusterUnavailable: no cluster answers at `address`, it does not take our token, or this process is
            connected to another one.
    """
    with ExitStack() as stack:
        stack.enter_context(_quiet())
        if ray.is_initialized():
            _refuse_another(address)
            stack.enter_context(_environment({}))
            yield None
            return
        here: dict[str, str | None] = {EMBEDDED: None}
        part = None
        if address is None:
            part = stack.enter_context(_a_part(want, note))
            here = {**LANE_ENVIRONMENT, EMBEDDED: mark(), **part.variables()}
            end_orphans()
        stack.enter_context(_environment(here))
        stack.enter_context(ray_off_stdout())
        if address is None:
            stack.enter_context(token_by_default())
        stack.callback(ray.shutdown)
        _connect(address, {} if part is None else part.options())
        if address is not None:
            stack.push(_leave_nothing)
        stack.enter_context(_quiet())  # once more: Ray sets levels when it starts
        gateway.keep_token_private()
        warning = gateway.unprotected(address)
        if warning:
            log.warning(warning)
        if part is not None:
            stack.enter_context(part.growing())
        yield part


def _leave_nothing(failed: type[BaseException] | None, *_: object) -> None:
    """Remove what placement groups this job still has on a cluster that goes on.

    One that a trial actor asked for while it was ended outlives actor and job (Ray 2.60): nobody would get
    its processors and GPUs any more. A cluster that failed is not asked.
    """
    if failed is None:
        with suppress(RayError):
            job = ray.get_runtime_context().get_job_id()
            for name, group in placement_group_table().items():
                if name.endswith(job) and group["state"] != "REMOVED":
                    remove_placement_group(PlacementGroup(PlacementGroupID.from_hex(name)))


@contextmanager
def _a_part(want: Callable[[Offer], Want] | None, note: Callable[[str], None]) -> Iterator[MachinePart]:
    """Yield what this study may have of the machine, while it has it."""
    found = found_here()
    offer = Offer(found.cpus, found.ids, frozenset(os.sched_getaffinity(0)))
    if want is None:
        yield MachinePart(found, Claim.of_all(Want("", "", 0.0, 0.0), offer), note)
        return
    with StudyRegister.here().claimed(want(offer), offer, note) as claim:
        yield MachinePart(found, claim, note)


def _connect(address: str | None, part: Mapping[str, Any]) -> None:
    address = _chosen(address)
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
                    ray.init(address="local", include_dashboard=False, **part, **options)
            else:
                ray.init(address=address, **options)
    except AuthenticationError as error:
        first = str(error).strip().partition("\n")[0]
        raise ClusterUnavailable(f"the cluster at {address} refuses us: {first} {gateway.ADVICE}") from error
    except Exception as error:  # of Ray, in all kinds: OSError, plain Exception, what its processes died of
        said = f"{type(error).__name__}: {' '.join(str(error).split())}"
        if address is not None:
            raise ClusterUnavailable(f"no Ray cluster answers at {address}: {said}") from error
        likely = "".join(f" {one}." for one in gateway.obstacles())
        raise ClusterUnavailable(
            f"Ray could not start on this machine: {said}.{likely} "
            f"`orchestrate doctor` shows what is missing; "
            f"what Ray's processes said is in {gateway.temporary()}/ray/session_latest/logs"
        ) from error


def _chosen(address: str | None) -> str | None:
    """Return where to connect to; what cannot work is refused, in a few seconds."""
    if address != "auto":
        if address is not None:
            gateway.refuse_strangers(address)
        return address
    found = running_here()
    if found is None or (not gateway.asks_for_token() and knock(found) == "token refused"):
        return address  # with this word Ray shows a token that it finds
    gateway.refuse_strangers(found)
    return found


def connected_to(asked: str | None = None) -> str:
    """Return the address of the cluster that this process is connected to: as it was asked for, if it was."""
    return str(ray.get_runtime_context().gcs_address if asked in (None, "auto") else asked)


def _refuse_another(address: str | None) -> None:
    """Refuse the Ray of this process where another cluster was asked for."""
    here = connected_to()
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


def peers(but: Peer) -> list[Peer]:
    """Return the other studies on the cluster, each with what it could use now as far as it answers."""
    found = []
    for actor in list_named_actors(all_namespaces=True):
        peer = Peer.named(actor["name"])
        if peer is None or peer.name == but.name:
            continue
        try:
            handle = ray.get_actor(actor["name"], actor["namespace"])
            found.append(replace(peer, could_use=ray.get(handle.could_use.remote(), timeout=ANSWER_S)))
        except ValueError:  # it has ended meanwhile
            continue
        except RayError:
            found.append(peer)
    return found


def ask_for(bundles: Sequence[Mapping[str, float]]) -> None:
    """Tell the autoscaler, if there is one, what the study could use now; an empty list: nothing."""
    from ray.autoscaler.sdk import request_resources

    request_resources(bundles=[dict(bundle) for bundle in bundles])


def _accelerator(resources: Mapping[str, float]) -> str:
    names = [key.partition(":")[2] for key in resources if key.startswith("accelerator_type:")]
    return names[0] if names else ANY
