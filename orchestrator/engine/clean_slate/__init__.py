"""Put a worker process back to where it was before a trial, so that the next one runs as if alone.

    state = snapshot(code_root)      # once, after the warm imports
    ...                              # a trial, in a thread of its own
    left = state.restore()           # empty: the next trial may start; else: recycle the process

The `inventory` is made of small objects that capture one kind of state each. What belongs to a
thread (autocast, grad mode, function modes, contextvars) ends with the trial's thread; `restore` puts it
back only for the thread that calls it. What it cannot reach: module globals of installed libraries other
than torch and numpy, and native state without a reader.
"""

from orchestrator.engine.clean_slate.inventory import ProcessState, snapshot
