"""Several studies on one machine or one cluster: which of them has how much of it. No Ray, no torch."""

from orchestrator.engine.sharing._claims import Claim, StudyRegister
from orchestrator.engine.sharing._cluster import Peer, entitled
from orchestrator.engine.sharing._queue import Queued, StudyQueue, in_front
from orchestrator.engine.sharing._share import (
    MachineShare,
    Offer,
    Tenant,
    Want,
    amount,
    in_words,
    more,
    named,
    share,
    wanted,
)
