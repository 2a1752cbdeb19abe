"""The files for `ray up`: accepted by Ray, and safe and cheap by default."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from .files import CLOUDS, CLUSTERS, LAUNCHED, prepared, read

files = pytest.mark.parametrize("path", LAUNCHED, ids=lambda path: path.name)
clouds = pytest.mark.parametrize("path", CLOUDS, ids=lambda path: path.name)


def started(config: dict[str, Any], where: str) -> tuple[dict[str, str], list[str]]:
    """What the command that starts Ray sets in the environment, and its words after `ray start`."""
    [command] = [line for line in config[where] if "ray start" in line]
    exports, _, options = command.partition("ray start")
    words = [word.rstrip(";") for word in shlex.split(exports.replace("&&", ""))]
    return dict(word.split("=", 1) for word in words if "=" in word), shlex.split(options.partition(";")[0])


@pytest.mark.slow  # imports Ray
@files
def test_ray_accepts_the_file(path: Path) -> None:
    config = prepared(path)
    assert config["head_node_type"] in config["available_node_types"]


@files
def test_a_token_is_asked_for_and_the_dashboard_is_not_seen_from_outside(path: Path) -> None:
    config = read(path)
    for where in ("head_start_ray_commands", "worker_start_ray_commands"):
        exported, _ = started(config, where)
        assert exported["RAY_AUTH_MODE"] == "token", where
    _, options = started(config, "head_start_ray_commands")
    assert "--dashboard-host=127.0.0.1" in options
    assert any(mount.endswith("auth_token") for mount in config["file_mounts"])
    assert "RAY_AUTH_TOKEN=" not in path.read_text()


@files
def test_no_trial_runs_on_the_head(path: Path) -> None:
    _, options = started(read(path), "head_start_ray_commands")
    assert "--num-cpus=0" in options
    assert "--num-gpus=0" in options or path.name == "cluster.yaml"


@clouds
def test_workers_come_from_zero_and_are_few(path: Path) -> None:
    config = read(path)
    head = config["available_node_types"].pop(config["head_node_type"])
    assert (head["max_workers"], head["resources"]) == (0, {"CPU": 0, "GPU": 0})
    assert config["max_workers"] <= 4
    assert 1 <= config["idle_timeout_minutes"] <= 15
    assert config["provider"]["cache_stopped_nodes"] is False
    for worker in config["available_node_types"].values():
        assert worker["min_workers"] == 0
        assert worker["max_workers"] <= config["max_workers"]
        assert worker["resources"]["GPU"] >= 1


@clouds
def test_spot_and_on_demand_differ_in_nothing_else(path: Path) -> None:
    types = read(path)["available_node_types"]
    spot, ondemand = (dict(types[name]["node_config"]) for name in ("gpu_spot", "gpu_ondemand"))
    bought = {"InstanceMarketOptions", "scheduling"}
    assert {key for key in spot if spot[key] != ondemand.get(key)} <= bought
    assert types["gpu_spot"]["resources"] == types["gpu_ondemand"]["resources"]
    head = types["head"]["node_config"]
    assert not bought & set(head)


def test_aws_nodes_hide_their_credentials_and_encrypt_their_disks() -> None:
    for node in read(CLUSTERS / "aws.yaml")["available_node_types"].values():
        config = node["node_config"]
        assert config["MetadataOptions"]["HttpTokens"] == "required"
        assert config["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
        [disk] = config["BlockDeviceMappings"]
        assert disk["Ebs"]["Encrypted"]
        assert disk["Ebs"]["DeleteOnTermination"]
        assert disk["Ebs"]["VolumeSize"] <= 200
        assert config["SecurityGroupIds"]
        assert "UserData" not in config


def test_google_nodes_are_on_a_network_of_ones_own_and_leave_no_disk() -> None:
    for node in read(CLUSTERS / "gcp.yaml")["available_node_types"].values():
        config = node["node_config"]
        assert "default" not in config["networkInterfaces"][0]["subnetwork"]
        [disk] = config["disks"]
        assert disk["autoDelete"]
        assert disk["initializeParams"]["diskSizeGb"] <= 200


@clouds
def test_what_has_to_be_changed_says_so(path: Path) -> None:
    """Nobody's account is in the file, and the cloud refuses a value that was left as it is."""
    text = path.read_text()
    assert "TO CHANGE" in text
    values = json.dumps(yaml.safe_load(text))
    assert values.count("CHANGE") >= 4


@clouds
def test_what_the_nodes_get_is_in_the_project(path: Path) -> None:
    for target, source in read(path)["file_mounts"].items():
        assert source.startswith("~") or (CLUSTERS.parents[1] / source).exists(), target
