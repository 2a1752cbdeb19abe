"""A working directory of its own for every trial, and what it writes elsewhere. No Ray, no torch."""

from orchestrator.engine.place._home import Home, NextHome, home_of, seen_here, tidy
from orchestrator.engine.place._watch import Written, audited, watch
