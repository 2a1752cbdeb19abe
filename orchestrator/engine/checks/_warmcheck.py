"""A11: a trial on a worker that has run others equals one on a fresh worker.

Asked without Ray, in a process that treats trials as a lane's worker does: each in a thread of its own, the
data kept between them, the process put back after each (`clean_slate`).
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orchestrator.training.gates.results import ArmToCheck, CheckRequest, GateVerdict, failed, passed

STEPS = 5
OTHERS = 3
"""Arms that run between the two trials of the reference."""
TIMEOUT_S = 240.0


def warm_equals_cold(request: CheckRequest) -> GateVerdict:
    """Losses of the reference's first steps before and after other arms."""
    program = "from orchestrator.engine.checks._warmcheck import serve; serve()"
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(asdict(request), default=str),
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        return failed(
            f"trials on one worker end with {said}", "what fails here only fails after another trial"
        )
    answer = json.loads(done.stdout.splitlines()[-1])
    between = ", ".join(arm.name for arm in _between(request))
    for step, (cold, warm) in enumerate(zip(answer["cold"], answer["warm"], strict=True), 1):
        if cold != warm:
            return failed(
                f"{request.arms[0].name} on a fresh worker has loss {cold:.9g} at step {step}, "
                f"after {between} {warm:.9g}",
                "a trial changes in place what build_data returned, which the next trial gets too",
                "data that depend on more of the config than `data_keys` says",
                "state in a library that outlives the trial",
            )
    warnings: tuple[str, ...] = ()
    if answer["left"]:
        warnings = (f"what trials leave behind makes a study start fresh workers: {answer['left'][0]}",)
    return passed(
        f"the first {STEPS} losses on a fresh worker and on one that has run {between}: equal bit for bit",
        warnings=warnings,
    )


def _between(request: CheckRequest) -> tuple[ArmToCheck, ...]:
    return request.arms[1 : 1 + OTHERS] or request.arms[:1]


# --- inside the process --------------------------------------------------------------------------------
def serve() -> None:
    """Answer the request on stdin with a last line of JSON: `{cold, warm, left}`."""
    request = CheckRequest.from_json(json.loads(sys.stdin.read()))
    import torch

    from orchestrator.engine.clean_slate import snapshot
    from orchestrator.training.gates import bench  # noqa: F401 - a worker has the loop imported before it starts

    torch.set_num_threads(1)
    state = snapshot(Path(request.root))
    cache: dict[str, Any] = {}
    curves: list[list[float]] = []
    left: list[str] = []
    for arm in (request.arms[0], *_between(request), request.arms[0]):
        with ThreadPoolExecutor(1) as thread:
            curves.append(thread.submit(_losses, request, arm, cache).result())
        left += state.restore()
    answer = {"cold": curves[0], "warm": curves[-1], "left": left}
    sys.stdout.write(f"\n{json.dumps(answer)}\n")


def _losses(request: CheckRequest, arm: ArmToCheck, cache: MutableMapping[str, Any]) -> list[float]:
    from orchestrator.engine.runners import Code, runner_of

    bench = runner_of(Code(request.entrypoint, Path(request.root), request.datamodule)).bench(request, cache)
    assert not isinstance(bench, str), bench
    return list(bench.first_steps(bench.config_of(arm.config), STEPS)[0])
