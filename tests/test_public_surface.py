"""What users and programs rely on. A change here is a change for them: say so in the changelog."""

from __future__ import annotations

from typing import Any

import typer.main

import orchestrator
from orchestrator import errors
from orchestrator.cli.app import app

STUDY_ARGUMENTS = {"STUDY", "--storage", "--cluster"}
VERBS = {
    "init": {"FOLDER", "--from"},
    "validate": {"--config", "-c", "KEY=VALUE", "--json"},
    "check": {"--config", "-c", "KEY=VALUE", "--gate", "--out", "--json"},
    "lr-find": {"--config", "-c", "KEY=VALUE", "--out", "--json"},
    "profile": {"--config", "-c", "KEY=VALUE", "--arm", "--trace", "--out", "--json"},
    "plan": {
        "--config",
        "-c",
        "KEY=VALUE",
        "--sd",
        "--rho",
        "--from",
        "--pilot",
        "--address",
        "--storage",
        "--json",
    },
    "ablate": {
        *("--config", "-c", "KEY=VALUE", "--json", "--address", "--fresh", "--extend"),
        *("--accept-code-change", "--retry-failed", "--no-check", "--trace", "--dry-run", "--cluster"),
        *("--detach", "--queue"),
    },
    "status": {*STUDY_ARGUMENTS, "--json"},
    "watch": {*STUDY_ARGUMENTS, "--every", "--json"},
    "logs": {
        *("ARM", "SEED", "--study", "-s", "--storage", "--rank", "--sample", "--follow", "-f", "--path"),
        "--cluster",
    },
    "stop": {*STUDY_ARGUMENTS, "--json"},
    "retry": {
        "STUDY",
        "ARM",
        "SEED",
        "--sample",
        "--storage",
        "--address",
        "--accept-code-change",
        "--queue",
        "--json",
    },
    "report": {*STUDY_ARGUMENTS, "OTHER", "--json", "--markdown", "--latex", "--slim", "--html", "--write"},
    "analyse": {
        *("FILE", "--baseline", "--metric", "--mode", "--arm", "--seed", "--where", "--margin", "--alpha"),
        *("--variance", "--json", "--markdown", "--latex", "--slim"),
    },
    "tensorboard": {*STUDY_ARGUMENTS, "--port"},
    "trace": {"STUDY", "--storage", "--out"},
    "serve": {"DIR", "--forget", "--host", "--port", "--storage"},
    "simulate": {
        *("--from", "--rule", "--scenario", "--studies", "--arms", "--seeds", "--rho", "--margin"),
        *("--alpha", "--seed", "--jobs", "--storage", "--json"),
    },
    "schema": {"WHAT"},
    "doctor": {"--storage", "--address", "--json", "--cluster", "--config", "-c", "--notify"},
    "up": {"CLUSTER", "--wait", "--restart"},
    "down": {"CLUSTER", "--force"},
    "completion": {"SHELL"},
}
EXIT_CODES = {
    "DONE": 0,
    "FAILED": 1,
    "BAD_INPUT": 2,
    "BUDGET": 3,
    "UNAVAILABLE": 4,
    "INTERRUPTED": 130,
    "TERMINATED": 143,
}
ERRORS = {
    "OrchestratorError": 1,
    "InputError": 2,
    "StudyError": 2,
    "ChangedStudy": 2,
    "ChangedCode": 2,
    "Unavailable": 4,
    "ClusterUnavailable": 4,
    "StorageUnavailable": 4,
    "StudyHeld": 4,
    "InternalError": 1,
}


def words_of(parameter: Any) -> list[str]:
    if parameter.param_type_name == "argument":
        return [parameter.metavar or parameter.name.upper()]
    return [*parameter.opts, *parameter.secondary_opts]


def test_verbs_and_their_options() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    found = {
        verb: {word for parameter in command.params for word in words_of(parameter)}
        for verb, command in commands.items()
    }
    assert found == VERBS


def test_exit_codes() -> None:
    assert {code.name: code.value for code in errors.ExitCode} == EXIT_CODES
    assert {name: int(getattr(errors, name).exit_code) for name in ERRORS} == ERRORS


def test_exports() -> None:
    assert set(orchestrator.__all__) == {
        *("Study", "open_study", "OpenedStudy", "run_local", "report", "trial_dir", "config"),
        *("report_scores", "Monitor", "SampleDraws", "Streams", "Task", "__version__"),
    }
    for name in orchestrator.__all__:
        assert getattr(orchestrator, name) is not None
