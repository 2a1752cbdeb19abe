"""Which trial runs where, and what its end calls for: the conductor and its policies. No Ray, no torch."""

from orchestrator.engine.conduct._conductor import Conductor

__all__ = ["Conductor"]
