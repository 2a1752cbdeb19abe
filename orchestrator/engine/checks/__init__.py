"""What is asked of user code before a study, in a process of its own."""

from orchestrator.engine.checks._checkprocess import run_gates
from orchestrator.engine.checks._preflight import (
    Findings,
    Preflight,
    fingerprint,
    refuse_bugs,
    remember,
    remembered,
)
