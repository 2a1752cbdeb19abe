"""Every private name of Ray that `orchestrator.engine.ray_private` builds on is there, as it is used there.

When one of these fails after an update of Ray, the module named in the test has to follow; nothing outside of
its package needs to.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import tomllib
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import ray
from packaging.specifiers import SpecifierSet

from orchestrator.engine import ray_private
from orchestrator.engine.ray_private.head import LANE_ENVIRONMENT

pytestmark = pytest.mark.slow  # Ray is imported, all of it
ROOT = Path(__file__).parents[2]
ROOM = Path(ray_private.__file__).parent
V2 = "ray.train.v2._internal.execution"
# Packages of Ray whose names are its own, though they begin with no underscore.
INTERNAL = ("ray.core", "ray.train.v2", "ray.tune.execution", "ray.tune.utils")

IMPORTED = {
    "backend": {
        "ray.train._internal.utils:get_address_and_port",
        "ray.train.torch.config:_set_torch_distributed_env_vars",
        "ray.train.torch.config:_setup_torch_process_group",
    },
    "binding": {
        f"{V2}.context:get_train_context",
        f"{V2}.storage:StorageContext",
        f"{V2}.train_fn_utils:DistributedTrainFnUtils",
        f"{V2}.train_fn_utils:get_train_fn_utils",
        f"{V2}.train_fn_utils:set_train_fn_utils",
    },
    "deaths": {"ray.core.generated.common_pb2:NodeDeathInfo"},
    "head": {
        *("ray._private.node:Node", "ray._private:services", "ray._private:utils", "ray._private:worker"),
        *("ray._raylet:AuthenticationTokenLoader", "ray._raylet:Config"),
        "ray.tune.execution:class_cache",
    },
    "in_threads": {
        f"{V2}.train_fn_utils:LocalTrainFnUtils",
        f"{V2}.train_fn_utils:set_train_fn_utils",
        "ray.train.v2.api.context:LocalTrainContext",
    },
    "machine": {
        "ray._private.accelerators:get_accelerator_manager_for_resource",
        "ray._private.utils:get_num_cpus",
        *(f"ray._private.thirdparty.pynvml:nvml{name}" for name in ("Init", "Shutdown", "DeviceGetCount")),
        *(f"ray._private.thirdparty.pynvml:nvmlDeviceGet{name}" for name in ("HandleByIndex", "UUID")),
        "ray._private.thirdparty.pynvml:NVMLError",
        *("ray._private.node:Node", "ray._private.parameter:RayParams"),
    },
    "no_tuner": {"ray.train._internal:session"},
    "spot_first": {
        "ray.autoscaler._private.node_launcher:BaseNodeLauncher",
        "ray.autoscaler._private.resource_demand_scheduler:_resource_based_utilization_scorer",
    },
    "trainer": {
        f"{V2}.controller:TrainController",
        f"{V2}.scaling_policy.fixed:FixedScalingPolicy",
        f"{V2}.worker_group:WorkerGroup",
        f"{V2}.worker_group:state",
        f"{V2}.worker_group:worker_group",
        "ray.train.v2.api.data_parallel_trainer:DataParallelTrainer",
    },
}
"""What each module of the room imports of Ray's own: the whole of it, as the next two tests hold."""


def private_imports(file: Path) -> Iterator[str]:
    """`module:name` of every import from Ray's own packages, and `ray._x.y` of every such attribute."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}:{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.Attribute):
            names = [ast.unparse(node)]
        else:
            continue
        for name in names:
            if re.match(r"ray\b.*[.:]_(?!_)", name) or name.startswith(INTERNAL):
                yield name


@pytest.mark.slow
def test_only_the_room_knows_private_names() -> None:
    tops = ("orchestrator", "trials", "configs", "benchmarks")
    outside = [path for top in tops for path in (ROOT / top).rglob("*.py") if not path.is_relative_to(ROOM)]
    assert {str(path): sorted(found) for path in outside if (found := set(private_imports(path)))} == {}


def test_the_room_imports_what_is_listed_here() -> None:
    found = {path.stem: set(private_imports(path)) for path in ROOM.glob("*.py")}
    assert {module: names for module, names in found.items() if names} == IMPORTED


@pytest.mark.slow  # imports torch and Ray Train
@pytest.mark.parametrize("name", sorted(set().union(*IMPORTED.values())))
def test_what_is_imported_is_there(name: str) -> None:
    assert named(name) is not None


def test_the_pin_lets_in_what_is_tested() -> None:
    lowest, highest = ray_private.TESTED
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    [pin] = [line.rpartition("]")[2] for line in project["dependencies"] if line.startswith("ray[")]
    major, minor, _ = map(int, highest.split("."))
    assert SpecifierSet(pin) == SpecifierSet(f">={lowest},<{major}.{minor + 1}")
    assert f"ray=={highest}\n" in (ROOT / "constraints.txt").read_text()
    assert SpecifierSet(pin).contains(ray.__version__)


def test_what_clusters_start_from_has_the_highest_version() -> None:
    _, highest = ray_private.TESTED
    assert f'rayVersion: "{highest}"' in (ROOT / "configs" / "clusters" / "kuberay.yaml").read_text()
    assert f"FROM rayproject/ray:{highest}-" in (ROOT / "docs" / "clouds.md").read_text()


def named(path: str) -> Any:
    """`module:name.name`."""
    module, _, names = path.partition(":")
    found = import_module(module)
    for name in names.split("."):
        found = getattr(found, name)
    return found


def parameters(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)


@pytest.mark.parametrize(
    ("path", "names"),
    [
        # binding
        (f"{V2}.context:get_train_context", []),
        (f"{V2}.train_fn_utils:get_train_fn_utils", []),
        (f"{V2}.train_fn_utils:set_train_fn_utils", ["train_fn_utils"]),
        # backend
        ("ray.train._internal.utils:get_address_and_port", []),
        ("ray.train.torch.config:_set_torch_distributed_env_vars", []),
        (
            "ray.train.torch.config:_setup_torch_process_group",
            ["backend", "world_rank", "world_size", "init_method", "timeout_s"],
        ),
        ("ray.train.backend:Backend.on_start", ["self", "worker_group", "backend_config"]),
        ("ray.train.backend:Backend.on_shutdown", ["self", "worker_group", "backend_config"]),
        (f"{V2}.worker_group:WorkerGroup.execute", ["self", "fn", "fn_args", "fn_kwargs"]),
        (f"{V2}.worker_group:WorkerGroup.execute_single", ["self", "rank", "fn", "fn_args", "fn_kwargs"]),
        (
            f"{V2}.worker_group:WorkerGroup.execute_single_async",
            ["self", "rank", "fn", "fn_args", "fn_kwargs"],
        ),
        # trainer
        (f"{V2}.controller:TrainController.run", ["self"]),
        (f"{V2}.controller:TrainController.get_result", ["self"]),
        (f"{V2}.scaling_policy.fixed:FixedScalingPolicy._maybe_send_resource_request", ["self"]),
        (
            f"{V2}.scaling_policy.fixed:FixedScalingPolicy.after_controller_start",
            ["self", "train_run_context"],
        ),
        (f"{V2}.worker_group:WorkerGroup._get_worker_runtime_env", ["custom_runtime_env"]),
        (
            f"{V2}.worker_group:WorkerGroup._create_placement_group",
            ["self", "scaling_config", "worker_group_context"],
        ),
        (f"{V2}.worker_group:WorkerGroup.has_started", ["self"]),
        (f"{V2}.worker_group:WorkerGroup.abort", ["self"]),
        (f"{V2}.worker_group.state:_shutdown_sync_actor", ["sync_actor"]),
        ("ray.train.v2.api.data_parallel_trainer:DataParallelTrainer._create_default_callbacks", ["self"]),
    ],
)
def test_functions_take_what_we_give_them(path: str, names: list[str]) -> None:
    assert parameters(named(path)) == names


@pytest.mark.parametrize(
    ("path", "names"),
    [
        (f"{V2}.context:TrainContext", {"train_run_context", "storage_context", "checkpoint"}),
        (f"{V2}.context:TrainRunContext", {"run_config", "train_loop_config"}),
    ],
)
def test_the_context_of_a_trial_has_the_fields_that_are_bound(path: str, names: set[str]) -> None:
    assert names <= {field.name for field in dataclasses.fields(named(path))}


def test_a_trial_gets_a_storage_context_of_its_own() -> None:
    storage = named(f"{V2}.storage:StorageContext")
    assert {"storage_path", "experiment_dir_name", "storage_filesystem", "read_only"} <= set(
        parameters(storage)
    )


def test_report_has_the_options_that_a_trial_answers_to() -> None:
    utils = named(f"{V2}.train_fn_utils:DistributedTrainFnUtils")
    options = {
        "metrics",
        "checkpoint",
        "checkpoint_dir_name",
        "checkpoint_upload_mode",
        "delete_local_checkpoint_after_upload",
        "checkpoint_upload_fn",
        "validation",
    }
    assert set(parameters(utils.report)) == {"self", *options}
    assert set(parameters(named("ray.train:report"))) == options
    assert hasattr(utils, "get_all_reported_checkpoints")
    modes = named("ray.train.v2.api.report_config:CheckpointUploadMode")
    assert {mode.name for mode in modes} == {"SYNC", "ASYNC", "NO_UPLOAD"}
    reported = named("ray.train.v2.api.reported_checkpoint:ReportedCheckpoint")
    assert [field.name for field in dataclasses.fields(reported)][:3] == ["checkpoint", "metrics", "status"]


def test_what_a_lane_leaves_out_is_known_by_these_names() -> None:
    callbacks = inspect.getsource(
        named("ray.train.v2.api.data_parallel_trainer:DataParallelTrainer._create_default_callbacks")
    )
    for name in ("PlacementGroupCleanerCallback", "WorkingDirectorySetupCallback", "DatasetsCallback"):
        assert name in callbacks
    trainer = named("ray.train.v2.api.data_parallel_trainer:DataParallelTrainer")
    assert hasattr(trainer, "_initialize_and_run_controller")
    source = inspect.getsource(named(f"{V2}.controller:TrainController"))
    assert "self._worker_group" in source
    assert "worker_group_cls" in source
    assert inspect.iscoroutinefunction(named(f"{V2}.controller:TrainController.run"))
    module = named(f"{V2}.worker_group:worker_group")
    assert hasattr(module, "SynchronizationActor")
    assert hasattr(named("ray.train.torch.config:TorchConfigContextManager"), "__enter__")
    config = named("ray.train.backend:BackendConfig")
    assert isinstance(config.backend_cls, property)
    assert isinstance(config.train_func_context, property)


@pytest.mark.parametrize("name", ["start_api_server", "start_monitor", "start_log_monitor"])
def test_an_embedded_ray_can_do_without(name: str) -> None:
    assert callable(getattr(named("ray._private.node:Node"), name))


def test_an_embedded_ray_can_have_a_second_node() -> None:
    assert parameters(named("ray._private.node:Node"))[:4] == [
        *("ray_params", "head", "shutdown_at_exit", "spawn_reaper"),
    ]
    assert {
        *("gcs_address", "num_cpus", "num_gpus", "env_vars", "include_log_monitor", "node_manager_port"),
        *("min_worker_port", "max_worker_port", "dashboard_agent_listen_port"),
    } <= set(parameters(named("ray._private.parameter:RayParams")))
    end = named("ray._private.node:Node.kill_all_processes")
    assert parameters(end) == ["self", "check_alive", "allow_graceful", "wait"]


def test_an_embedded_ray_can_do_with_a_small_agent() -> None:
    assert parameters(named("ray._private.utils:get_dashboard_dependency_error")) == []
    source = inspect.getsource(named("ray._private.services:start_raylet"))
    assert "ray._private.utils.get_dashboard_dependency_error() is not None" in source


def test_tune_makes_the_class_of_a_trial_actor_in_one_place() -> None:
    cache = named("ray.tune.execution.class_cache:_ActorClassCache")
    assert parameters(cache.get) == ["self", "trainable_cls"]
    assert cache()._cache == {}


def test_tune_keeps_idle_lanes_in_a_cache() -> None:
    controller = named("ray.tune.execution.tune_controller:TuneController")
    assert "self._actor_cache = _ObjectCache(" in inspect.getsource(controller)
    cache = named("ray.tune.utils.object_cache:_ObjectCache")
    assert parameters(cache.increase_max) == ["self", "key", "by"]


def test_a_ray_that_is_started_here_can_be_told_to_ask_for_a_token() -> None:
    assert callable(named("ray._raylet:Config.initialize"))
    assert callable(named("ray._raylet:AuthenticationTokenLoader.reset_cache"))
    assert inspect.getsource(named("ray._private.worker:init")).count("ensure_token_if_auth_enabled") > 0


def test_ray_says_how_workers_and_nodes_ended() -> None:
    assert isinstance(named("ray.core.generated.common_pb2:NodeDeathInfo.AUTOSCALER_DRAIN_PREEMPTED"), int)
    assert isinstance(named("ray.exceptions:ActorDiedError.preempted"), property)
    assert callable(named("ray._private.worker:print_to_stdstream"))


def test_the_autoscaler_can_be_told_which_nodes_come_first() -> None:
    scorer = named("ray.autoscaler._private.resource_demand_scheduler:_resource_based_utilization_scorer")
    assert parameters(scorer) == ["node_resources", "resources", "node_availability_summary"]
    launch = named("ray.autoscaler._private.node_launcher:BaseNodeLauncher._launch_node")
    assert "create_node_with_resources_and_labels" in inspect.getsource(launch)


READ_IN = ("class_cache.py", "constants.py", "session.py")


def test_ray_reads_the_settings_of_a_lane() -> None:
    root = Path(ray.__file__).parent
    where = [*(root / "train").rglob("*.py"), *(root / "air").rglob("*.py"), *(root / "tune").rglob("*.py")]
    text = "".join(path.read_text() for path in where if path.name in READ_IN)
    for name in (*LANE_ENVIRONMENT, "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"):
        assert name in text, name
