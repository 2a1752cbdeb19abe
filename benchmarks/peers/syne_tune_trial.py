"""One trial of Syne Tune's, in its process; a whole one leaves its value in a file of lines."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from peercase import Case, train
from syne_tune import Reporter


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--number", type=int)
    parser.add_argument("--case")
    parser.add_argument("--values", type=Path)
    chosen, _ = parser.parse_known_args()
    case, tell = Case.of(chosen.case), Reporter()

    config = case.configs()[chosen.number]

    def report(epoch: int, loss: float) -> bool:
        if epoch == case.epochs:  # first: at its last report ASHA ends the process
            with chosen.values.open("a") as lines:
                lines.write(f"{json.dumps([config['trial'], loss])}\n")
        tell(epoch=epoch, loss=loss)
        return False

    train(config, report)


if __name__ == "__main__":
    main()
