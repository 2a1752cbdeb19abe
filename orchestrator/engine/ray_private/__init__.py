"""Every private name of Ray that the project touches; `tests/engine/test_ray_private.py` watches them.

Four things need them:

* **A trial inside a long-lived worker group.** `ray.train.report` and its siblings are bound to the group's
  only run. `bind_trial` gives the process's internal train context another run config, storage and
  checkpoint for the duration of a trial and replaces `report` (`set_train_fn_utils` is the place that
  Ray's own docstring names for this).
* **A slim embedded Ray.** `ray.init` starts an API server, an autoscaler monitor and a log monitor even when
  nobody asked for them: three Python processes, half of its time. `embedded_ray` leaves them out.
* **A slim trainer.** `TorchTrainer.fit` spends a process each on its controller and on a placement-group
  cleaner, and registers with an autoscaling coordinator: three processes and several seconds per lane.
  `LaneTrainer` runs the same controller inside the trial actor. The placement group is released by
  the lane; when the trial actor dies, Ray frees it with its owner.

* **Why a worker or a node is gone** (`deaths`), and which node type is started next (`spot_first`).

`head` is all that the driver imports; `trainer` and `backend` belong to the trial actor, `binding` to the
worker, `deaths` to the message actor, `spot_first` to the autoscaler on the head. Only the worker imports
torch.
"""

TESTED = ("2.57.0", "2.60.0")
"""The lowest and the highest version of Ray that is tested; pyproject.toml lets in those between them."""
