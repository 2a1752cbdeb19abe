"""Weights & Biases and MLflow: the curves of a trial, sent there by a process of their own.

    worker: TrialLog → Trackers ──lines of JSON──► serve ──► wandb, mlflow

Their packages patch modules, start threads and services, and wait for networks. Apart from the worker none of
that can change a trial, slow it, or stay behind in a worker that runs the next one.
"""
