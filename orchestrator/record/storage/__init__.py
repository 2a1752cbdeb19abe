"""Where studies are kept: `Storage` for whoever reads or writes, a `Backend` for each kind of place."""

from orchestrator.record.storage.backend import Appender, Backend, Stored
from orchestrator.record.storage.facade import Storage

__all__ = ["Appender", "Backend", "Storage", "Stored"]
