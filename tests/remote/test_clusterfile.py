"""Every fault of a cluster file is found before anything starts, with its line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.errors import InputError
from orchestrator.remote.cluster import launcher_key
from orchestrator.remote.clusterfile import read_cluster_file, unshared

PROJECT = Path(__file__).parents[2]


def faults(path: Path) -> list[str]:
    with pytest.raises(InputError) as caught:
        read_cluster_file(path)
    return [str(fault).removeprefix(f"{path}:") for fault in caught.value.faults]


def test_what_is_read(write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    file = read_cluster_file(write())
    assert (file.name, file.provider, file.is_local) == ("lab", "local", True)
    assert file.hosts == ("head", "worker1", "worker2")
    assert file.wanted == 3
    assert file.storage == "/srv/shared/runs"
    assert file.token == tmp_path / ".ray/auth_token"
    assert file.head_start.environment == "export RAY_AUTH_MODE=token"
    assert (file.auth.user, file.auth.private_key) == ("ubuntu", tmp_path / "key")


def test_max_workers_limits_what_is_waited_for(write) -> None:
    assert read_cluster_file(write(("cluster_name: lab", "cluster_name: lab\nmax_workers: 1"))).wanted == 2


def test_a_cloud_wants_the_nodes_that_are_always_kept(write) -> None:
    types = (
        "available_node_types:\n"
        "  head: {resources: {}, node_config: {}}\n"
        "  spot: {min_workers: 2, max_workers: 8, resources: {}, node_config: {}}\n"
        "  on_demand: {max_workers: 8, resources: {}, node_config: {}}\n"
        "head_node_type: head\nauth:"
    )
    path = write(
        ("type: local\n  head_ip: head\n  worker_ips: [worker1, worker2]", "type: aws\n  region: x"),
        ("auth:", types),
    )
    file = read_cluster_file(path)
    assert (file.wanted, file.hosts, file.is_local) == (3, (), False)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("head_ip: head", "head_ip: <head>", '4: provider.head_ip: is no address (got "<head>")'),
        ("head_ip: head", "head_ip: 7", "4: provider.head_ip: must be text (got 7)"),
        ("  head_ip: head\n", "", "2: provider: head_ip must be given"),
        ("[worker1, worker2]", "[worker1, worker1]", "5: provider.worker_ips.1: this host is given twice"),
        ("[worker1, worker2]", "[head]", "5: provider.worker_ips.0: this host is given twice"),
        ("[worker1, worker2]", "worker1", "5: provider.worker_ips: must be a list"),
        ("storage: /srv/shared/runs", "storage: runs", "6: provider.storage: a relative path"),
        ("  ssh_user: ubuntu\n", "", "7: auth: ssh_user must be given"),
        ("/key", "/nokey", "9: auth.ssh_private_key: there is no such file"),
        ("file_mounts:", "file_mount:", "10: file_mount: there is no such setting; did you mean"),
        ("127.0.0.1", "0.0.0.0", "12: head_start_ray_commands: the dashboard may listen on loopback only"),
        ("ray start --address=$RAY_HEAD_IP:6379", "ray stop", "14: worker_start_ray_commands: none"),
        ("cluster_name: lab", "max_workers: 2", "1: cluster_name must be given"),
        ("auth:", "docker: {container_name: x, image: y}\nauth:", "7: docker: hosts that run Ray in"),
        ("cluster_name: lab", "cluster_name: [", "3: not valid YAML"),
    ],
)  # fmt: skip
def test_faults_have_their_line(write, old: str, new: str, expected: str) -> None:
    found = faults(write((old, new)))
    assert any(fault.startswith(expected) for fault in found), found


def test_all_faults_at_once(write) -> None:
    path = write(
        ("storage: /srv/shared/runs", "storage: ~/runs"), ("head_ip: head", "head_ip: a b"), ("/key", "/no")
    )
    assert [fault.partition(":")[0] for fault in faults(path)] == ["4", "6", "9"]


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such cluster file"):
        read_cluster_file(tmp_path / "cluster.yaml")


def test_the_cluster_file_of_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is shipped, but for the key, which is the user's."""
    monkeypatch.chdir(PROJECT)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/id_ed25519").write_text("a key")
    file = read_cluster_file(PROJECT / "cluster.yaml")
    assert file.is_local
    assert file.storage == "/srv/shared/runs"
    assert "RAY_AUTH_MODE=token" in file.head_start.environment
    assert "RAY_AUTH_MODE=token" in file.worker_start.environment
    assert file.head_start.dashboard_is_private


@pytest.mark.parametrize("storage", ["/srv/shared", "file:///srv/shared", "s3://bucket/runs", "gs://bucket"])
def test_storage_that_may_be_shared(storage: str) -> None:
    assert unshared(storage) is None


@pytest.mark.parametrize("storage", ["runs", "./runs", "~/runs", "/tmp/runs", "file://~/x", "/dev/shm/x"])
def test_storage_that_cannot_be_shared(storage: str) -> None:
    assert unshared(storage)


def test_the_key_that_the_launcher_made_for_a_cloud(tmp_path: Path) -> None:
    assert launcher_key("us-west-2", tmp_path) is None
    for number, name in enumerate(["ray-autoscaler_us-west-2.pem", "ray-autoscaler_1_us-west-2.pem"]):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (number, number))
    (tmp_path / "ray-autoscaler_eu-west-1.pem").touch()
    assert launcher_key("us-west-2", tmp_path) == tmp_path / "ray-autoscaler_1_us-west-2.pem"


@pytest.mark.parametrize("name", ["aws", "gcp"])
def test_the_cluster_files_for_clouds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    file = read_cluster_file(PROJECT / f"configs/clusters/{name}.yaml")
    assert (file.provider, file.hosts, file.wanted) == (name, (), 1)
    assert file.region
    for start in (file.head_start, file.worker_start):
        assert "RAY_AUTH_MODE=token" in start.environment
        assert "$HOME/venv/bin" in start.environment
    assert file.head_start.dashboard_is_private


def test_relative_paths_are_found_above_the_file(
    write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(("file_mounts:", "file_mounts:\n  ~/code: code"))
    deep = tmp_path / "configs/clusters"
    deep.mkdir(parents=True)
    path = path.rename(deep / "cluster.yaml")
    monkeypatch.chdir("/")
    assert faults(path) == ["11: file_mounts.~/code: there is no such file (got code); looked in /"]
    (tmp_path / "code").mkdir()
    assert read_cluster_file(path).root == tmp_path
    monkeypatch.chdir(tmp_path)
    assert read_cluster_file(path).root == tmp_path
