"""`orchestrate lr-find`: a learning-rate range test of the baseline."""

from __future__ import annotations

from orchestrator.cli.gates import DEFAULT_OUT, OutOption
from orchestrator.cli.options import ConfigOption, JsonOption, OverrideArguments


def command(
    config: ConfigOption,
    overrides: OverrideArguments = None,
    out: OutOption = DEFAULT_OUT,
    as_json: JsonOption = False,
) -> None:
    """Find a learning rate: train the baseline while the rate grows, and see where the loss falls fastest.

    The curve is on the page; the suggestion is for the optimizer of the config, at its batch size.
    """
    from orchestrator.api.study import Study
    from orchestrator.cli.gates import ask

    ask(Study.from_file(config, *(overrides or ())), "lr-find", out, as_json=as_json)
