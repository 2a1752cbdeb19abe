"""A pool that one writes in an afternoon: no retries, no record; a worker that dies takes the study with it.

Variants: two groups of processes take trial after trial (`warm`), or every trial gets a new one (`fresh`).
"""

from __future__ import annotations

import multiprocessing
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from peercase import AT_A_TIME, Case, answer, from_arguments, train, use_one_thread


def serve(rank: int, world: int, port: int, tasks: Any, results: Any) -> None:
    """What each process of a group does until there is no task."""
    if world > 1:
        import torch.distributed

        torch.distributed.init_process_group(
            "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world
        )
    while (config := tasks.get()) is not None:
        value = train(config, lambda *_: False, rank, world)
        if rank == 0:
            results.put((config["trial"], value))


class Group:
    """The processes of one trial at a time."""

    def __init__(self, world: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._tasks, self._results = [context.SimpleQueue() for _ in range(world)], context.SimpleQueue()
        port = _free_port() if world > 1 else 0
        self._processes = [
            context.Process(target=serve, args=(rank, world, port, tasks, self._results))
            for rank, tasks in enumerate(self._tasks)
        ]
        for process in self._processes:
            process.start()

    def run(self, config: dict[str, Any]) -> tuple[str, float]:
        """Run one trial."""
        for tasks in self._tasks:
            tasks.put(config)
        done: tuple[str, float] = self._results.get()
        return done

    def close(self) -> None:
        for tasks in self._tasks:
            tasks.put(None)
        for process in self._processes:
            process.join()


def _free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port: int = server.getsockname()[1]
        return port


def lane(
    case: Case, left: Iterator[dict[str, Any]], lock: threading.Lock, values: dict[str, float], fresh: bool
) -> None:
    """Run trials while there are any."""
    group = None if fresh else Group(case.workers)
    while True:
        with lock:
            config = next(left, None)
        if config is None:
            break
        here = group or Group(case.workers)
        trial, value = here.run(config)
        values[trial] = value
        if group is None:
            here.close()
    if group is not None:
        group.close()


def main() -> None:
    case, variant = from_arguments()
    use_one_thread()
    values: dict[str, float] = {}
    left, lock = iter(case.configs()), threading.Lock()
    shared = (case, left, lock, values, variant == "fresh")
    lanes = [threading.Thread(target=lane, args=shared) for _ in range(AT_A_TIME)]
    for each in lanes:
        each.start()
    for each in lanes:
        each.join()
    answer(values)


if __name__ == "__main__":
    main()
