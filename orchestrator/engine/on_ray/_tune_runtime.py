"""Worker groups on Ray: Tune owns the trials, Ray Train the workers; an actor stands between them."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import ray
from ray import tune
from ray.tune import PlacementGroupFactory, TuneConfig, Tuner

from orchestrator.engine.capacity import ClusterPart, Node
from orchestrator.engine.messages import Action, RunFacts, Said
from orchestrator.engine.on_ray import cluster
from orchestrator.engine.on_ray._lane import Lane
from orchestrator.engine.on_ray._machine_part import MachinePart
from orchestrator.engine.on_ray._message_actor import MessageActor
from orchestrator.engine.on_ray._tune_adapters import CellScheduler, CellSearcher
from orchestrator.engine.ray_private.head import lanes_from_pool
from orchestrator.engine.runtime import Road
from orchestrator.engine.sharing import Peer, entitled
from orchestrator.study.plainspec import plain

# What runs beside the driver: a share of the head node's own resource, and no CPU that trials could use.
ON_HEAD = {"node:__internal_head__": 0.0001}
RELEASE_S = 10.0
SILENCE_S = 5.0
"""How long a call for what was said waits in the message actor: asking again costs both processes more."""


class TuneRuntime:
    """The `Runtime` of a Ray that this process is connected to.

    `machine`: what the study has of this machine, where Ray was started for it; None on a cluster, that may
    add nodes when it is asked to. `kept_cpus`: of each node, for what runs beside the workers.
    """

    def __init__(
        self, facts: RunFacts, machine: MachinePart | None = None, *, kept_cpus: float = 0.0
    ) -> None:
        self._facts = replace(facts, spec=plain(facts.spec))
        self._machine, self._kept_cpus = machine, kept_cpus
        resources = facts.spec.resources
        self._me = Peer(facts.spec.name, time.time_ns(), facts.gpus_per_worker, resources)
        actor = ray.remote(num_cpus=0, resources=ON_HEAD, max_concurrency=100_000)(MessageActor)
        self._broker = actor.options(name=self._me.name).remote()
        self._asked: Any = None  # the call that waits for what is said

    def run(self, road: Road) -> None:
        """Let Tune run until every cell is answered or the study stops."""
        staging = tempfile.mkdtemp(prefix="orchestrator-tune-")
        trainable = tune.with_resources(
            tune.with_parameters(Lane, broker=self._broker, facts=self._facts),
            PlacementGroupFactory([ON_HEAD]),
        )
        tuner = Tuner(
            trainable,
            tune_config=TuneConfig(
                search_alg=CellSearcher(road.conductor),
                scheduler=CellScheduler(road, self._broker),
                num_samples=-1,
                reuse_actors=self._facts.spec.resources.reuse_workers,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=staging,
                verbose=0,
                progress_reporter=_Quiet(),
                failure_config=tune.FailureConfig(max_failures=0),
            ),
        )
        try:
            with lanes_from_pool():
                tuner.fit()
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def drain(self, taken: int, timeout_s: float) -> Said:
        """See `Runtime`: one call waits for as long as there is silence, and is looked at here."""
        if timeout_s <= 0:
            now: Said = ray.get(self._broker.drain.remote(taken, 0.0))
            return now
        if self._asked is None:
            self._asked = self._broker.drain.remote(taken, SILENCE_S)
        ready, _ = ray.wait([self._asked], timeout=timeout_s)
        if not ready:
            return Said(taken)
        asked, self._asked = self._asked, None
        said: Said = ray.get(asked)
        return said

    def carry_out(self, action: Action) -> None:
        self._broker.carry_out.remote(action)

    def nodes(self) -> list[Node]:
        return cluster.nodes(self._kept_cpus)

    def part(self, groups: int) -> ClusterPart | None:
        """Compare with the other studies on the cluster: their actors' names tell which there are."""
        if self._machine is not None:
            self._machine.could_use(groups)
            return None
        self._broker.told_what_it_could_use.remote(groups)
        others = cluster.peers(but=self._me)
        if not others:
            return None
        mine = entitled(replace(self._me, could_use=groups), others, self.nodes())
        return ClusterPart(mine, tuple(sorted(peer.study for peer in others)))

    def ask_for(self, bundles: Sequence[dict[str, float]]) -> None:
        """Ask a cluster that grows for nodes; the last request counts until there is another one."""
        if self._machine is not None:
            return
        try:
            cluster.ask_for(bundles)
        except (ray.exceptions.RayError, ConnectionError):
            if bundles:  # else the study needs nothing any more, of a cluster that is gone
                raise

    def wake(self) -> None:
        self._broker.wake.remote()

    def close(self) -> None:
        """End what is beside Tune: a Ray that goes on after the study keeps nothing of it."""
        with suppress(ray.exceptions.RayError, ConnectionError):
            ray.get(self._broker.release.remote(), timeout=RELEASE_S)
            ray.kill(self._broker)


class _Quiet(tune.ProgressReporter):
    """Shows nothing; Tune's own would clear what a notebook's cell shows, ours included."""

    def should_report(self, trials: list[Any], done: bool = False) -> bool:
        """Never."""
        del trials, done
        return False

    def report(self, trials: list[Any], done: bool, *sys_info: dict[str, Any]) -> None:
        """Nothing."""
