"""What a study that starts beside others may have: a pure decision over what they have and wait for.

First come, first served, or by `resources.priority` among those who wait. A study takes as many worker groups
as are free, at most those that it can use, and keeps them to its end: a GPU belongs to one study at a time.
What a study that waits in front needs for one group is left to it. One that runs takes more when others have
left it, after all who wait.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orchestrator.engine.capacity import DATASETS_CPUS

if TYPE_CHECKING:
    from orchestrator.study.spec import StudySpec


@dataclass(frozen=True)
class Offer:
    """What this machine has for one who may use it: whole CPUs, and GPUs by their names.

    `affinity`: the processors among which the CPUs are; studies that are kept apart by it do not compete.
    """

    cpus: float
    gpus: tuple[str, ...] = ()
    affinity: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Want:
    """What a study can use.

    `cpus`, `gpus`: of one worker group; `groups`: of those at most; `besides`: further CPUs.
    """

    study: str
    root: str
    cpus: float
    gpus: float
    groups: float = math.inf
    besides: float = 0.0
    priority: int = 0

    @property
    def least(self) -> tuple[float, int]:
        """CPUs and GPUs of one group."""
        return self.cpus + self.besides, math.ceil(self.gpus)


@dataclass(frozen=True)
class Tenant:
    """Another study here. `since`: when it came, in ns; `cpus` is None while it waits for `least`."""

    study: str
    root: str
    pid: int
    since: int
    priority: int
    least: tuple[float, int]
    cpus: float | None = None
    gpus: tuple[str, ...] = ()
    affinity: frozenset[int] = frozenset()

    @property
    def waits(self) -> bool:
        """Whether it has nothing yet."""
        return self.cpus is None

    @property
    def turn(self) -> tuple[int, int]:
        """Whose is smaller comes first."""
        return -self.priority, self.since


@dataclass(frozen=True)
class MachineShare:
    """What a study has.

    `cpus`: that its worker `groups` can use; `room`: CPUs that nobody else has, as many at least.
    """

    cpus: float
    gpus: tuple[str, ...]
    room: float
    groups: int = 0

    def __add__(self, more: MachineShare) -> MachineShare:
        """Return both together."""
        return MachineShare(
            self.cpus + more.cpus, self.gpus + more.gpus, self.room + more.cpus, self.groups + more.groups
        )


def wanted(spec: StudySpec, root: str, offer: Offer, cells: int | None) -> Want:
    """Return what a study can use here. `cells`: that are left to run, where that is known for good."""
    asked = spec.resources
    gpus = (1.0 if offer.gpus else 0.0) if asked.gpus_per_worker == "auto" else float(asked.gpus_per_worker)
    most = math.inf if asked.max_parallel == "auto" else asked.max_parallel
    return Want(
        study=spec.name,
        root=root,
        cpus=asked.workers * asked.cpus_per_worker,
        gpus=asked.workers * gpus,
        groups=most if cells is None else min(most, max(1, cells)),
        besides=0.0 if spec.datasets is None else DATASETS_CPUS,
        priority=asked.priority,
    )


def share(offer: Offer, want: Want, since: float, tenants: Iterable[Tenant]) -> MachineShare | None:
    """Return what a study that came at `since` may have now; None where it has to wait.

    One that would not fit on an empty machine does not wait: it gets nothing of its own, and is refused by
    whoever looks at the machine.
    """
    if _groups(offer.cpus - want.besides, len(offer.gpus), want) < 1:
        return MachineShare(0.0, offer.gpus, offer.cpus)
    others = [tenant for tenant in tenants if tenant.root != want.root]
    cpus, gpus = _left(offer, others)
    room = cpus
    for tenant in others:
        if tenant.waits and tenant.turn < (-want.priority, since):
            cpus -= tenant.least[0] if _same_processors(offer, tenant) else 0.0
            gpus = gpus[tenant.least[1] :]
    groups = int(min(_groups(cpus - want.besides, len(gpus), want), want.groups))
    if groups < 1:
        return None
    taken = math.ceil(groups * want.gpus - 1e-9)
    return MachineShare(groups * want.cpus + want.besides, tuple(gpus[:taken]), room, groups)


def more(offer: Offer, want: Want, had: MachineShare, tenants: Iterable[Tenant]) -> MachineShare | None:
    """Return what a study that has `had` may take besides; None: nothing. `tenants`: itself, too."""
    last = replace(want, root="", priority=-sys.maxsize, groups=want.groups - had.groups)
    return share(offer, last, math.inf, tenants)


def _left(offer: Offer, tenants: list[Tenant]) -> tuple[float, list[str]]:
    """Return CPUs and GPUs that nobody has."""
    taken = {gpu for tenant in tenants for gpu in tenant.gpus}
    held = sum(tenant.cpus or 0.0 for tenant in tenants if _same_processors(offer, tenant))
    return offer.cpus - held, [gpu for gpu in offer.gpus if gpu not in taken]


def _same_processors(offer: Offer, tenant: Tenant) -> bool:
    return not (offer.affinity and tenant.affinity) or bool(offer.affinity & tenant.affinity)


def _groups(cpus: float, gpus: int, want: Want) -> int:
    limits = [cpus / want.cpus] if want.cpus else []
    limits += [gpus / want.gpus] if want.gpus else []
    return max(0, math.floor(min(limits) + 1e-9)) if limits else 0


def in_words(tenants: Iterable[Tenant]) -> str:
    """Say what others have here and wait for: `digits (process 12) has 2 CPUs and GPUs 0, 1`."""
    said = []
    for tenant in sorted(tenants, key=lambda tenant: tenant.turn):
        who = f"{tenant.study} (process {tenant.pid})"
        if tenant.cpus is None:
            said.append(f"{who} waits for {amount(*tenant.least)}")
            continue
        gpus = f" and {amount(0, len(tenant.gpus))} ({named(tenant.gpus)})"
        said.append(f"{who} has {amount(tenant.cpus, 0)}{gpus if tenant.gpus else ''}")
    return "; ".join(said)


def amount(cpus: float, gpus: int) -> str:
    """Return `2 CPUs and 1 GPU`."""
    told = [f"{cpus:g} CPU{'s' * (cpus != 1)}"] if cpus or not gpus else []
    return " and ".join([*told, *([f"{gpus} GPU{'s' * (gpus != 1)}"] if gpus else [])])


def named(gpus: Iterable[str]) -> str:
    """Return GPUs by their numbers, or the beginnings of their UUIDs."""
    return ", ".join(gpu[:12] for gpu in gpus)
