"""aws.yaml against a local stand-in for AWS (moto), as far as nodes that run: by Ray's own code for AWS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.errors import ClusterUnavailable
from orchestrator.remote.cluster import Cluster
from orchestrator.remote.clusterfile import read_cluster_file

from .files import CLUSTERS, environment

pytest.importorskip("moto", reason="moto[ec2,iam] is missing: make install")
pytestmark = pytest.mark.slow
TOKEN = "0123456789abcdef-the-token"  # must turn up nowhere
REGION = "us-west-2"


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """An AWS account as docs/clouds.md has it made, and a home directory with a token; an EC2 client."""
    import boto3
    from moto.server import ThreadedMotoServer

    home = tmp_path_factory.mktemp("home")
    (home / ".ssh").mkdir()
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text(TOKEN)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": REGION}
    try:
        with environment(HOME=str(home), AWS_ENDPOINT_URL=f"http://{host}:{port}", NO_PROXY="*", **keys):
            iam = boto3.client("iam")
            for name in ("ablation-head", "ablation-worker"):
                iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")
                iam.create_instance_profile(InstanceProfileName=name)
                iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
            yield boto3.client("ec2")
    finally:
        server.stop()


@pytest.fixture(scope="module")
def network(account: Any) -> str:
    """The security group of docs/clouds.md: SSH from one address, everything among the nodes."""
    vpc = account.describe_vpcs()["Vpcs"][0]["VpcId"]
    group: str = account.create_security_group(GroupName="ablation", Description="nodes", VpcId=vpc)[
        "GroupId"
    ]
    ssh = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "198.51.100.7/32"}]}
    inside = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}
    account.authorize_security_group_ingress(GroupId=group, IpPermissions=[ssh, inside])
    return group


@pytest.fixture(scope="module")
def config(account: Any, network: str) -> dict[str, Any]:
    """aws.yaml with what says CHANGE filled in, after all that `ray up` does before a node starts."""
    from ray.autoscaler._private.commands import _bootstrap_config

    image = account.describe_images()["Images"][0]["ImageId"]
    text = (CLUSTERS / "aws.yaml").read_text().replace("ami-CHANGE", image).replace("sg-CHANGE", network)
    made: dict[str, Any] = _bootstrap_config(yaml.safe_load(text), no_config_cache=True)
    return made


@pytest.fixture(scope="module")
def nodes(account: Any, config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """One node of every type, made by Ray's provider and launcher; as AWS describes them."""
    from ray.autoscaler._private.event_summarizer import EventSummarizer
    from ray.autoscaler._private.node_launcher import BaseNodeLauncher
    from ray.autoscaler._private.node_provider_availability_tracker import NodeProviderAvailabilityTracker
    from ray.autoscaler._private.providers import _get_node_provider
    from ray.autoscaler._private.util import ConcurrentCounter

    provider = _get_node_provider(config["provider"], config["cluster_name"], use_cache=False)
    tracker = NodeProviderAvailabilityTracker()
    types = config["available_node_types"]
    launcher = BaseNodeLauncher(
        provider, ConcurrentCounter(), EventSummarizer(), tracker, "test", node_types=types
    )
    for name in types:
        launcher.pending.inc(name, 1)
        launcher.launch_node(config, 1, name)
    described = [
        instance
        for reservation in account.describe_instances()["Reservations"]
        for instance in reservation["Instances"]
    ]
    return {tags(instance)["ray-user-node-type"]: instance for instance in described}


def tags(instance: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in instance["Tags"]}


@pytest.mark.long
def test_every_type_starts_and_is_bought_as_the_file_says(nodes: dict[str, dict[str, Any]]) -> None:
    assert set(nodes) == {"head", "gpu_spot", "gpu_ondemand"}
    assert nodes["gpu_spot"]["InstanceLifecycle"] == "spot"
    assert "InstanceLifecycle" not in nodes["gpu_ondemand"]
    assert "InstanceLifecycle" not in nodes["head"]
    assert {node["State"]["Name"] for node in nodes.values()} <= {"pending", "running"}


@pytest.mark.long
def test_nodes_are_tagged_with_the_cluster(nodes: dict[str, dict[str, Any]]) -> None:
    assert {tags(node)["ray-cluster-name"] for node in nodes.values()} == {"ablation"}


@pytest.mark.long
def test_no_port_is_open_to_the_world(account: Any, nodes: dict[str, dict[str, Any]], network: str) -> None:
    groups = {group["GroupId"] for node in nodes.values() for group in node["SecurityGroups"]}
    assert groups == {network}
    [group] = account.describe_security_groups(GroupIds=[network])["SecurityGroups"]
    sources = [span["CidrIp"] for rule in group["IpPermissions"] for span in rule["IpRanges"]]
    assert sources == ["198.51.100.7/32"]
    made_by_ray = account.describe_security_groups(Filters=[{"Name": "group-name", "Values": ["ray-*"]}])
    assert not made_by_ray["SecurityGroups"]


@pytest.mark.long
def test_nodes_have_the_rights_of_their_kind(nodes: dict[str, dict[str, Any]]) -> None:
    profiles = {name: node["IamInstanceProfile"]["Arn"].rpartition("/")[2] for name, node in nodes.items()}
    assert profiles == {
        "head": "ablation-head",
        "gpu_spot": "ablation-worker",
        "gpu_ondemand": "ablation-worker",
    }


@pytest.mark.long
def test_credentials_need_a_session_and_disks_are_encrypted(
    account: Any, nodes: dict[str, dict[str, Any]]
) -> None:
    for node in nodes.values():
        assert node["MetadataOptions"]["HttpTokens"] == "required"
        [mapping] = node["BlockDeviceMappings"]
        assert mapping["Ebs"]["DeleteOnTermination"]
        [disk] = account.describe_volumes(VolumeIds=[mapping["Ebs"]["VolumeId"]])["Volumes"]
        assert disk["Encrypted"]
        assert disk["Size"] <= 200


@pytest.mark.long
def test_the_head_offers_nothing_to_trials(config: dict[str, Any]) -> None:
    resources = {name: node["resources"] for name, node in config["available_node_types"].items()}
    assert (resources["head"]["CPU"], resources["head"]["GPU"]) == (0, 0)
    for worker in ("gpu_spot", "gpu_ondemand"):  # what Ray finds out about the type, and what the file says
        assert (resources[worker]["CPU"], resources[worker]["GPU"]) == (8, 1)
        assert any(name.startswith("accelerator_type:") for name in resources[worker])


@pytest.mark.long
def test_no_secret_is_in_what_aws_or_the_head_is_told(
    account: Any, nodes: dict[str, dict[str, Any]], config: dict[str, Any], tmp_path: Path
) -> None:
    from ray.autoscaler._private.commands import _set_up_config_for_head_node
    from ray.autoscaler._private.providers import _get_node_provider

    for node in nodes.values():
        data = account.describe_instance_attribute(InstanceId=node["InstanceId"], Attribute="userData")
        assert not data.get("UserData", {}).get("Value")
        assert TOKEN not in json.dumps(node, default=str)
    provider = _get_node_provider(config["provider"], config["cluster_name"], use_cache=False)
    _, on_the_head = _set_up_config_for_head_node(config, provider, False)
    with on_the_head:
        told = Path(on_the_head.name).read_text()
    assert TOKEN not in told
    assert "PRIVATE KEY" not in told
    assert "aws_credentials" not in told


@pytest.mark.long
def test_the_laptop_finds_the_machines(account: Any, tmp_path: Path) -> None:
    """As `--cluster` does: through `ray get-head-ip` and `ray get-worker-ips`, in processes of their own."""
    file = tmp_path / "cluster.yaml"
    file.write_text(
        (CLUSTERS / "aws.yaml").read_text().replace("cluster_name: ablation", "cluster_name: found")
    )
    cluster = Cluster(read_cluster_file(file))
    with pytest.raises(ClusterUnavailable, match=r"orchestrate up.* Head node .* not found"):
        _ = cluster.head
    assert cluster.workers == []
    image = account.describe_images()["Images"][0]["ImageId"]
    addresses = {}
    for kind in ("head", "worker"):
        said = {"ray-cluster-name": "found", "ray-node-type": kind, "ray-node-status": "up-to-date"}
        named = [{"Key": key, "Value": value} for key, value in said.items()]
        specifications = [{"ResourceType": "instance", "Tags": named}]
        made = account.run_instances(ImageId=image, MinCount=1, MaxCount=1, TagSpecifications=specifications)
        [instance] = account.describe_instances(InstanceIds=[made["Instances"][0]["InstanceId"]])[
            "Reservations"
        ][0]["Instances"]
        addresses[kind] = instance["PublicIpAddress"]
    assert [host.address for host in cluster.hosts] == [addresses["head"], addresses["worker"]]
    assert not cluster.head.keeps_key
