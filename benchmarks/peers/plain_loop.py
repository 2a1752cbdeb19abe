"""One trial after the other in one process: the least that can be done."""

from __future__ import annotations

from peercase import answer, cannot, from_arguments, train


def main() -> None:
    case, _ = from_arguments()
    if case.workers > 1:
        cannot("one process")
        return
    answer({config["trial"]: train(config, lambda *_: False) for config in case.configs()})


if __name__ == "__main__":
    main()
