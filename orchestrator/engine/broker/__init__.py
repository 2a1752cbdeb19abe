"""What travels between driver, trial actors and workers, and in which order. No Ray."""

from orchestrator.engine.broker._broker import Broker
