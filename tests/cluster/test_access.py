"""Who has no token, or a wrong one, can neither submit a job, nor join as a node, nor ask the dashboard."""

from __future__ import annotations

import pytest
from cluster import DASHBOARD, Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.long]

NO_TOKEN = {"HOME": "/nowhere", "RAY_AUTH_MODE": "disabled"}
WRONG_TOKEN = {"HOME": "/nowhere", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a" * 64}
STRANGERS = pytest.mark.parametrize("stranger", [NO_TOKEN, WRONG_TOKEN], ids=["no-token", "wrong-token"])


@STRANGERS
def test_no_job_is_submitted(plain_cluster: Cluster, stranger: dict[str, str]) -> None:
    path = {"PATH": plain_cluster.path}
    tried = plain_cluster.head.attempt(
        f"ray job submit --address {DASHBOARD} --submission-id stranger -- touch /tmp/stranger",
        **stranger,
        **path,
    )
    assert tried.returncode != 0
    assert "token" in (tried.stdout + tried.stderr).lower()
    assert "stranger" not in plain_cluster.head.run(f"ray job list --address {DASHBOARD}")


@STRANGERS
def test_no_node_joins(plain_cluster: Cluster, stranger: dict[str, str]) -> None:
    lab, before = plain_cluster.lab, plain_cluster.alive()
    if "worker3" not in lab.hosts:
        lab.boot("worker3")
    address = plain_cluster.head.address
    tried = lab["worker3"].attempt(f"ray start --address={address}:6379", **stranger, PATH=plain_cluster.path)
    assert tried.returncode != 0
    assert plain_cluster.alive() == before


@STRANGERS
def test_no_driver_connects(plain_cluster: Cluster, stranger: dict[str, str]) -> None:
    address = plain_cluster.head.address
    tried = plain_cluster.head.attempt(
        f"python -c \"import ray; ray.init('{address}:6379'); print('connected')\"",
        **stranger,
        PATH=plain_cluster.path,
    )
    assert tried.returncode != 0
    assert "connected" not in tried.stdout


@pytest.mark.parametrize("path", ["api/jobs/", "api/v0/nodes", "api/cluster_status", "logical/actors"])
@pytest.mark.parametrize("header", ["", "-H 'Authorization: Bearer wrong'"], ids=["no-token", "wrong-token"])
def test_the_dashboard_tells_nothing(plain_cluster: Cluster, path: str, header: str) -> None:
    ask = "curl -s -o /dev/null -w '%{http_code}'"
    refused = plain_cluster.head.run(f"{ask} {header} {DASHBOARD}/{path}")
    assert refused in ("401", "403")
    token = '-H "Authorization: Bearer $(cat ~/.ray/auth_token)"'
    assert plain_cluster.head.run(f"{ask} {token} {DASHBOARD}/{path}") == "200"


def test_the_dashboard_listens_on_loopback_only(plain_cluster: Cluster) -> None:
    address = plain_cluster.head.address
    seen = plain_cluster.lab["laptop"].attempt(f"curl -s --connect-timeout 5 http://{address}:8265/")
    assert seen.returncode == 7  # nobody listens
