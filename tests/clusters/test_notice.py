"""What a spot node does when its cloud announces its end: a local metadata service, and a real Ray."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from .files import CLUSTERS, environment

SCRIPT = CLUSTERS / "drain_on_notice.py"


class Metadata:
    """The metadata services of AWS (with session tokens only) and Google, as far as the script asks them."""

    def __init__(self) -> None:
        self.announced = False
        self.asked = threading.Event()  # the notice was asked for, and there was none yet
        self.address = ""

    def answer(self, method: str, path: str, header: Callable[[str], str | None]) -> tuple[int, str]:
        if (method, path) == ("PUT", "/latest/api/token"):
            return (200, "session") if header("X-aws-ec2-metadata-token-ttl-seconds") else (400, "")
        if path == "/latest/meta-data/spot/instance-action":
            if header("X-aws-ec2-metadata-token") != "session":
                return 401, ""
            found = (200, '{"action": "terminate", "time": "2030-01-01T00:00:00Z"}')
            return found if self._seen() else (404, "")
        if path == "/computeMetadata/v1/instance/preempted":
            if header("Metadata-Flavor") != "Google":
                return 403, ""
            return 200, "TRUE" if self._seen() else "FALSE"
        return 404, ""

    def _seen(self) -> bool:
        if not self.announced:
            self.asked.set()
        return self.announced


@pytest.fixture
def metadata() -> Iterator[Metadata]:
    service = Metadata()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            code, text = service.answer(self.command, self.path, self.headers.get)
            self.send_response(code)
            self.end_headers()
            self.wfile.write(text.encode())

        do_PUT = do_GET

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    service.address = f"http://127.0.0.1:{server.server_port}"
    yield service
    server.shutdown()
    thread.join()
    server.server_close()


@contextmanager
def watching(cloud: str, metadata: Metadata, **environment: str) -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, str(SCRIPT), cloud, "--metadata", metadata.address]
    process = subprocess.Popen(words, env=dict(os.environ, **environment), stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize(("cloud", "left_s"), [("aws", 120), ("gcp", 30)])
def test_a_notice_becomes_a_drain(metadata: Metadata, tmp_path: Path, cloud: str, left_s: int) -> None:
    """Nothing before the notice; then the words for Ray, asked again when Ray does not answer at first."""
    said = tmp_path / "said"
    ray = tmp_path / "ray"
    ray.write_text(f'#!/bin/sh\necho "$@" >> {said}\n[ "$(wc -l < {said})" -ge 2 ]\n')
    ray.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    if cloud == "aws":
        metadata.announced = True  # AWS is asked every five seconds: no test waits for the second time
    with watching(cloud, metadata, PATH=path) as watcher:
        if cloud == "gcp":
            assert metadata.asked.wait(20)
            assert not said.exists()
            metadata.announced = True
        assert watcher.wait(20) == 0
    first, second = said.read_text().splitlines()
    assert first.startswith("drain-node --reason DRAIN_NODE_REASON_PREEMPTION")
    assert int(first.split()[-1]) == left_s
    assert int(second.split()[-1]) in range(left_s - 10, left_s)  # what is left by now


def test_no_proxy_is_asked(metadata: Metadata, tmp_path: Path) -> None:
    ray = tmp_path / "ray"
    ray.write_text("#!/bin/sh\n")
    ray.chmod(0o755)
    metadata.announced = True
    elsewhere = {"http_proxy": "http://127.0.0.1:9", "no_proxy": ""}
    with watching("gcp", metadata, PATH=f"{tmp_path}:{os.environ['PATH']}", **elsewhere) as watcher:
        assert watcher.wait(20) == 0


@pytest.mark.ray
@pytest.mark.long
def test_ray_places_nothing_on_a_node_that_is_taken_back(metadata: Metadata) -> None:
    """What runs there runs on, new work goes elsewhere, a loss is a preemption (`ray drain-node`)."""
    import ray
    from ray.cluster_utils import Cluster
    from ray.exceptions import ActorDiedError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

    @ray.remote(num_cpus=1)
    class Trial:
        def where(self) -> str:
            return str(ray.get_runtime_context().get_node_id())

        def train(self) -> None:
            threading.Event().wait()

    metadata.announced = True
    own = tempfile.mkdtemp(prefix="r")
    with environment(RAY_TMPDIR=own, PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}"):
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
        try:
            spot, other = cluster.head_node.node_id, cluster.add_node(num_cpus=2)
            cluster.wait_for_nodes()
            ray.init(address=cluster.address, log_to_driver=False)
            running = Trial.options(scheduling_strategy=On(spot, soft=False)).remote()
            assert ray.get(running.where.remote()) == spot
            with environment(RAY_ADDRESS=cluster.address), watching("gcp", metadata) as watcher:
                assert (
                    watcher.wait(60) == 0
                )  # two nodes have one address here: Ray takes the head for "this node"
            assert set(ray._private.state.state.get_draining_nodes()) == {spot}
            new = Trial.remote()
            assert ray.get(new.where.remote(), timeout=60) == other.node_id
            assert ray.get(running.where.remote()) == spot

            by_hand = ["ray", "drain-node", "--address", cluster.address, "--node-id", other.node_id]
            by_hand += ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "test"]
            subprocess.run([*by_hand, "--deadline-remaining-seconds", "30"], check=True, capture_output=True)
            training = new.train.remote()
            cluster.remove_node(other, allow_graceful=False)
            with pytest.raises(ActorDiedError) as lost:
                ray.get(training, timeout=60)
            assert lost.value.preempted
        finally:
            ray.shutdown()
            cluster.shutdown()
            shutil.rmtree(own, ignore_errors=True)
