"""Monitors: what is watched beside training. One module each, and:

base        the interface, for monitors of one's own too
catalogue   names to classes; which fit a task
watch       calls them, and keeps them within their share of the time
reading     what the outputs of a task mean, by its kind
drawing     pictures
"""

from orchestrator.training.monitors.base import Clock, Monitor, MonitoredTrial, Unfit
from orchestrator.training.monitors.reading import Predictions
from orchestrator.training.sink import Sink
from orchestrator.training.validation import Seen

__all__ = ["Clock", "Monitor", "MonitoredTrial", "Predictions", "Seen", "Sink", "Unfit"]
