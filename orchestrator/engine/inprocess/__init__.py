"""A study in one process: the same conductor, broker and trials as on Ray, with threads for workers.

For notebooks, for debugging, and for tests of everything that is not Ray's. A plain function needs neither
Ray nor torch. Record, checkpoints and decisions are those of a run on Ray.
"""

from orchestrator.engine.inprocess._faults import DriverKilled, Faults, PlantedFault
from orchestrator.engine.inprocess._session import get_checkpoint, report, session
from orchestrator.engine.inprocess._study import run_in_process
