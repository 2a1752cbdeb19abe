"""A trial as a run of MLflow. MLFLOW_TRACKING_URI holds; without it the study has a database of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.record.loggers import ServiceLogger, TrackedTrial
from orchestrator.record.storage.directory import Directory
from orchestrator.record.tensorboard import flat_config
from orchestrator.record.trackers.named import NamedValues

RUN_TAG = "orchestrator.run"
_MOST_PARAMS = 100  # in one request
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
"""Its own defaults retry for minutes: too long for the end of a trial to wait for."""
_STATUS = {"done": "FINISHED", "stopped": "FINISHED", "diverged": "FINISHED", "cancelled": "KILLED"}


class MlflowRun(ServiceLogger):
    """Writes one trial to MLflow. The experiment is the study's, unless MLFLOW_EXPERIMENT_NAME names one."""

    needs = "mlflow"

    def __init__(self, trial: TrackedTrial) -> None:
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        self.remarks: list[str] = []

        folder = Path(trial.folder)
        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder / 'mlflow.db'}"
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or trial.study
        # workers of this machine start together, and each would make the tables
        with Directory(str(folder)).exclusively("mlflow.lock"):
            self._client = MlflowClient(tracking_uri=uri)
            found = self._client.get_experiment_by_name(name)
            experiment = found.experiment_id if found else self._client.create_experiment(name)
        earlier = self._client.search_runs([experiment], f"tags.`{RUN_TAG}` = '{trial.run_id}'")
        self._last: dict[str, int] = {}
        if earlier:
            self._id: str = earlier[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
        else:
            tags = {**trial.tags(), RUN_TAG: trial.run_id}
            self._id = self._client.create_run(experiment, run_name=trial.name, tags=tags).info.run_id
        try:
            for key in earlier[0].data.metrics if earlier else ():
                self._last[key] = max(point.step for point in self._client.get_metric_history(self._id, key))
            if not earlier:
                self._params(flat_config(trial.config))
        except Exception:
            self.close("failed", {})
            raise

    def scalars(self, values: Mapping[str, float], step: int, time_s: float) -> None:
        """Leave out the steps that the run has already, which a resumed trial repeats."""
        from mlflow.entities import Metric

        at_ms = int(time_s * 1000)
        fresh = {key: value for key, value in values.items() if step > self._last.get(key, -1)}
        if fresh:
            points = [Metric(key, value, at_ms, step) for key, value in fresh.items()]
            self._client.log_batch(self._id, metrics=points)

    def close(self, state: str, finals: Mapping[str, float]) -> None:
        """Run that are not answered are marked as failed; a later attempt takes them up."""
        tags = {"state": state, **{f"final/{key}": repr(value) for key, value in finals.items()}}
        try:
            NamedValues(self._tag, self.remarks.append).put(tags)
        finally:
            self._client.set_terminated(self._id, _STATUS.get(state, "FAILED"))

    def _tag(self, tags: Mapping[str, str]) -> None:
        for key, value in tags.items():
            self._client.set_tag(self._id, key, value)

    def _params(self, config: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        def send(values: Mapping[str, Any]) -> None:
            params = [Param(key, str(value)) for key, value in values.items()]
            self._client.log_batch(self._id, params=params)

        values, items = NamedValues(send, self.remarks.append), list(config.items())
        for start in range(0, len(items), _MOST_PARAMS):
            values.put(dict(items[start : start + _MOST_PARAMS]))
