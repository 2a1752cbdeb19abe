"""TensorBoard in a browser, over a finished study with its monitors on: every tab shows real content."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tensorboard_tabs import CHROMIUM, TABS, browser, serving, show
from workbench import REPOSITORY, Bench

pytestmark = [pytest.mark.web, pytest.mark.ray]


@pytest.fixture(scope="module")
def logdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trials of configs/digits-watched.yaml."""
    pytest.importorskip("playwright", reason="needs playwright to drive a browser")
    if CHROMIUM is None:
        pytest.skip("needs chromium")
    study = (REPOSITORY / "configs" / "digits-watched.yaml").read_text()
    bench = Bench(tmp_path_factory.mktemp("watched"), None, study)
    finished = bench.run()
    assert finished.code == 0, finished.err
    return bench.trial_file("baseline", 0, "trial.json").parents[2]


def test_every_tab_shows_real_content(logdir: Path) -> None:
    pictures: dict[str, bytes] = {}
    with serving(logdir) as address, browser() as page:
        for tab in TABS:
            pictures[tab] = show(page, address, tab)
            if tab == "hparams":
                rows: Any = page.request.post(
                    f"{address}/data/plugin/hparams/session_groups",
                    data={
                        "experimentName": "",
                        "allowedStatuses": ["STATUS_SUCCESS"],
                        "colParams": [{"hparam": "model.batchnorm"}],
                        "sliceSize": 10,
                    },
                ).json()
    for tab, picture in pictures.items():
        with Image.open(io.BytesIO(picture)) as image:
            assert len(image.convert("RGB").getcolors(1 << 20) or ()) > 8, f"{tab} is nearly empty"
    groups = rows["sessionGroups"]
    assert sorted(group["hparams"]["model.batchnorm"] for group in groups) == [False, False, True, True]
    assert all(0 < group["metricValues"][0]["value"] <= 1 for group in groups)
