"""The digits task, held at half of its length while a file `hold-4` lies in config["dir"]."""

import time
from pathlib import Path

from trials.digits import Digits


class Held(Digits):
    def schedule(self, progress, config):
        while progress >= 0.5 and (Path(config["dir"]) / "hold-4").exists():
            time.sleep(0.02)
        return super().schedule(progress, config)
