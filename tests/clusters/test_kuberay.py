"""kuberay.yaml: what it says, field by field. No Kubernetes is asked."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import pytest
import yaml

from .files import CLUSTERS


@pytest.fixture
def documents() -> dict[str, dict[str, Any]]:
    return {one["kind"]: one for one in yaml.safe_load_all((CLUSTERS / "kuberay.yaml").read_text())}


@pytest.fixture
def cluster(documents: dict[str, dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = documents["RayJob"]["spec"]["rayClusterSpec"]
    return found


def test_a_token_is_made_by_the_operator_and_is_not_in_the_file(cluster: dict[str, Any]) -> None:
    assert cluster["authOptions"] == {"mode": "token"}
    assert "RAY_AUTH_TOKEN" not in (CLUSTERS / "kuberay.yaml").read_text()
    assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP"


def test_ray_is_the_version_that_is_tested(cluster: dict[str, Any]) -> None:
    assert cluster["rayVersion"] == version("ray")


def test_no_trial_runs_on_the_head(cluster: dict[str, Any]) -> None:
    assert cluster["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0", "num-gpus": "0"}


def test_workers_come_from_zero_and_are_few(cluster: dict[str, Any]) -> None:
    assert cluster["enableInTreeAutoscaling"]
    for group in cluster["workerGroupSpecs"]:
        assert (group["replicas"], group["minReplicas"]) == (0, 0)
        assert 0 < group["maxReplicas"] <= 4
        resources = group["template"]["spec"]["containers"][0]["resources"]
        assert resources["requests"] == resources["limits"]


def test_all_pods_share_one_volume_that_many_may_write(
    documents: dict[str, dict[str, Any]], cluster: dict[str, Any]
) -> None:
    claim = documents["PersistentVolumeClaim"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        pod = group["template"]["spec"]
        assert pod["restartPolicy"] == "Never"
        [volume] = pod["volumes"]
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        [mount] = pod["containers"][0]["volumeMounts"]
        assert f"storage={mount['mountPath']}" in documents["RayJob"]["spec"]["entrypoint"]
        assert not pod["containers"][0]["securityContext"]["allowPrivilegeEscalation"]
