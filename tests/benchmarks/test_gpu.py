"""What one GPU gives: everything of it that needs none."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch):
    """A module of the benchmarks, which import each other by their bare names."""
    monkeypatch.syspath_prepend(SCRIPTS)
    before = set(sys.modules)
    yield __import__
    for name in set(sys.modules) - before:
        if str(SCRIPTS) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_parts_are_chosen_and_what_cannot_be_is_refused(load, capsys: pytest.CaptureFixture[str]) -> None:
    gpu = load("gpu")
    assert gpu.arguments([]).only == ["packing", "loop", "stop", "left"]
    assert gpu.arguments(["--only", "left"]).only == ["left"]
    assert set(gpu.PARTS) == set(load("gpu_parts").DRAWN)
    for wrong in (
        ["--only", "magic"],
        ["--device", "cpu"],
        ["--write", "--only", "left"],
        ["--write", "--tiny"],
    ):
        with pytest.raises(SystemExit):
            gpu.arguments(wrong)
    assert "only with --tiny" in capsys.readouterr().err


@pytest.mark.slow
def test_without_a_gpu_one_line_says_so(
    load, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gpu = load("gpu")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    if gpu.at_hand("cuda"):
        pytest.skip("the GPU of this machine is in use by this process")
    assert gpu.main(["--json", str(tmp_path / "figures.json")]) == gpu.NO_GPU_CODE == 3
    assert capsys.readouterr().out == f"{gpu.NO_GPU}\n"
    assert not list(tmp_path.iterdir())


def test_the_page_has_what_was_measured_and_nothing_else(load) -> None:
    gpu, page = load("gpu"), load("page")
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.written_into(text, gpu.MARK, gpu.drawn(gpu.kept())) == text


def test_lanes_share_the_gpu_and_the_cpus(load, tmp_path: Path) -> None:
    import yaml

    parts = load("gpu_parts")
    from orchestrator.study.loading import load_study

    setting = parts.Setting("cuda", False, tmp_path, float("inf"))
    study = parts.study_file("x", setting, levels=4, seeds=2, epochs=3, lanes=8, held=0, rule="none")
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(study))
    resources = load_study(tmp_path / "x.yaml").spec.resources
    assert (resources.gpus_per_worker, resources.max_parallel) == (0.125, 8)
    assert resources.cpus_per_worker <= 1


def test_turnarounds_are_those_after_a_stop(load) -> None:
    parts = load("gpu_parts")
    whole, stopped = (["validated"] * count for count in (2, 1))
    events = ["began", "stepped", *whole, "began", "stepped", *stopped, "began", "stepped", *stopped]
    stamps = [
        {"event": event, "t": float(at), "samples": 4, "tensors_mib": 1.0, "gpu_mib": 100.0 + at}
        for at, event in enumerate(events)
    ]
    (row,) = parts.turnarounds(stamps, whole=8)
    assert (row["begins_s"], row["steps_s"], row["gpu_mib"], row["gpu_mib_before"]) == (1, 2, 107, 106)
    text = parts.DRAWN["stop"]({"rows": [row], "held_mib": 4096})
    assert "| next trial's first step | 2,000 ms | 2,000 ms |" in text
    assert parts.DRAWN["stop"]({"rows": [], "held_mib": 1}) == "No trial was stopped.\n"


def test_growth_is_from_the_second_trial_to_the_last(load) -> None:
    parts = load("gpu_parts")
    began = [{"pid": 1, "resident_mib": size} for size in (500.0, 600.0, 601.0, 602.0)]
    found = parts.growth(began)
    assert found == {"trials": 4, "processes": 1, "memory": {"resident_mib": [600.0, 602.0]}}
    assert "| resident | 600 MiB | 602 MiB | +1.00 MiB |" in parts.DRAWN["left"](found)
    assert parts.growth([]) == {"trials": 0, "processes": 0}


def test_ratios_of_packing_and_loops(load) -> None:
    parts = load("gpu_parts")
    lanes = [
        {"lanes": lanes, "share": 1 / lanes, "samples_per_s": rate, "gpu_mib": None}
        for lanes, rate in ((1, 1000.0), (4, 2500.0))
    ]
    assert "| 4 lanes | 0.25 | 2,500 | 2.50× | – |" in parts.DRAWN["packing"]({"rows": lanes})
    loops = [
        {"way": way, "compiled": compiled, "samples_per_s": rate, "first_step_s": 1.0}
        for way, compiled, rate in (("ours", True, 96.0), ("plain", True, 100.0), ("plain", False, 50.0))
    ]
    text = parts.DRAWN["loop"]({"rows": loops})
    assert "| plain, `torch.compile` | 100 | 0.960 | 1.0 s |" in text
    assert "| plain | 50 | – | 1.0 s |" in text


def test_the_rate_of_lanes_is_that_of_the_time_in_which_all_are_busy(load) -> None:
    parts = load("gpu_parts")
    stamps = [
        {"event": event, "trial": trial, "t": at, "samples": 4}
        for at, trial, event in (
            *((0.0, "a", "stepped"), (1.0, "a", "validated"), (2.0, "a", "validated")),
            *((4.0, "b", "stepped"), (8.0, "b", "validated"), (12.0, "b", "validated")),
            *((3.0, "c", "stepped"), (5.0, "c", "validated"), (7.0, "c", "validated")),
        )
    ]
    trials = parts.epochs_of(stamps, validated=4)
    assert trials == [[0.0, 1.0, 2.0], [4.0, 8.0, 12.0], [3.0, 5.0, 7.0]]
    assert parts.busy_rate(trials, 1, samples=10) == pytest.approx(6 * 10 / 12)
    assert parts.busy_rate(trials[1:], 2, samples=10) == pytest.approx((1.5 + 0.75) * 10 / 3)
    assert parts.busy_rate(trials, 4, samples=10) is None
    assert parts.busy_rate([trials[0], trials[1]], 2, samples=10) is None


def test_what_has_no_time_left_is_told(load, tmp_path: Path) -> None:
    parts = load("gpu_parts")
    setting = parts.Setting("cuda", False, tmp_path, until=0.0)
    for name in ("packing", "loop", "stop", "left"):
        found = getattr(parts, name)(setting)
        assert all("no time was left" in told for told in found["told"]), found
        assert found["told"]
        assert parts.DRAWN[name](found)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["packing", "stop", "left"])
def test_studies_of_every_part_run(
    load, part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gpu, file = load("gpu"), tmp_path / "figures.json"
    assert gpu.main(["--device", "cpu", "--tiny", "--only", part, "--json", str(file)]) == 0
    found = json.loads(file.read_text())["parts"][part]
    assert found["told"] == []
    if part == "packing":
        assert [row["lanes"] for row in found["rows"]] == [1, 2]
    elif part == "stop":
        assert len(found["rows"]) >= 2
    else:
        assert (found["trials"], found["processes"]) == (6, 1)
    assert "| --- |" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what Lightning says about loaders and torch about Lightning
@pytest.mark.parametrize("way", ["ours", "plain", "lightning"])
def test_every_loop_runs(load, way: str, capsys: pytest.CaptureFixture[str]) -> None:
    if way == "lightning":
        pytest.importorskip("lightning")
    loops = load("gpu_loops")
    loops.main(way, "plain", "cpu", "tiny")
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["steps"] == 12
    assert found["samples_per_s"] > 0
