"""Where studies are kept: `Storage` for whoever reads or writes, a `Backend` for each kind of place."""

from orchestrator.record.storage.appender import Appender
from orchestrator.record.storage.backend import Backend, Stored
from orchestrator.record.storage.facade import Storage

__all__ = ["Appender", "Backend", "Storage", "Stored"]
