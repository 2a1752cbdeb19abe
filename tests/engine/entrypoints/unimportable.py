"""An entrypoint whose module needs what is not there."""

import a_package_that_nobody_has  # noqa: F401


def train(config: dict[str, object]) -> None:
    raise AssertionError(config)
