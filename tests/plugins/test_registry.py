"""A registry: built-in names and those of packages, what each says when it cannot be used."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from orchestrator.errors import InputError, StudyError
from orchestrator.study import plugins
from orchestrator.study.plugins import PluginError, Registry
from orchestrator.study.validation import read_spec

GROUP = "orchestrator.toys"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Install a package as pip does: its module and its entry points in a directory that Python looks in."""
    monkeypatch.syspath_prepend(str(tmp_path))
    plugins._brought.cache_clear()

    def package(name: str, points: dict[str, str], code: str = "") -> None:
        (tmp_path / f"{name}.py").write_text(code)
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = [f"[{GROUP}]", *(f"{key} = {value}" for key, value in points.items())]
        (info / "entry_points.txt").write_text("\n".join(lines))
        importlib.invalidate_caches()

    yield package
    plugins._brought.cache_clear()
    for name in [name for name in sys.modules if name.startswith("toy_")]:
        del sys.modules[name]


def toys() -> Registry[float]:
    table = {"pi": "math:pi", "e": "math:e"}
    return Registry("toy", GROUP, table, lambda thing: isinstance(thing, float))


def test_built_in_names_are_listed_in_their_order_and_imported_when_asked_for() -> None:
    assert list(toys()) == ["pi", "e"]
    assert toys().get("pi") == pytest.approx(3.14159, abs=1e-5)
    assert "pi" in toys()
    assert "tau" not in toys()
    assert [] not in toys()


def test_an_unknown_name_is_refused_with_the_nearest_or_all() -> None:
    with pytest.raises(InputError, match=r"there is no toy 'pie'; did you mean pi\?"):
        toys().get("pie")
    with pytest.raises(InputError, match="valid: pi, e"):
        toys().get("something else")


def test_a_package_brings_one_that_is_imported_only_when_it_is_asked_for(install) -> None:
    install("toy_tau", {"tau": "toy_tau:TAU", "alpha": "toy_tau:ALPHA"}, "TAU = 6.28\nALPHA = 0.05")
    registry = toys()
    assert list(registry) == ["pi", "e", "alpha", "tau"]
    assert "tau" in registry
    assert "toy_tau" not in sys.modules
    assert registry.get("tau") == 6.28
    assert "toy_tau" in sys.modules


def test_a_built_in_name_cannot_be_taken(install) -> None:
    install("toy_pi", {"pi": "toy_pi:PI"}, "PI = 3.0")
    assert list(toys()) == ["pi", "e"]
    assert toys().get("pi") > 3.1


@pytest.mark.parametrize(
    ("value", "code", "said"),
    [
        (
            "toy_bad:BAD",
            "import no_such_module",
            "toy 'bad' of package toy_bad cannot be imported .*no_such_mod",
        ),
        ("toy_bad:BAD", "raise RuntimeError('no licence')", "RuntimeError: no licence"),
        ("toy_bad:OTHER", "BAD = 1.0", "AttributeError"),
        ("toy_bad:BAD", "BAD = 'text'", "package toy_bad, toy_bad:BAD, is no toy but str"),
    ],
)
def test_what_a_package_brings_and_cannot_be_used_is_told_with_its_name(install, value, code, said) -> None:
    install("toy_bad", {"bad": value}, code)
    assert "bad" in toys()
    with pytest.raises(PluginError, match=said):
        toys().get("bad")


def test_two_packages_with_one_name_are_told_when_it_is_asked_for(install) -> None:
    install("toy_one", {"tau": "toy_one:TAU"}, "TAU = 6.28")
    install("toy_two", {"tau": "toy_two:TAU"}, "TAU = 6.29")
    assert toys().get("e") < 3
    with pytest.raises(PluginError, match="package toy_one and package toy_two both register a toy 'tau'"):
        toys().get("tau")


def test_a_record_whose_package_is_gone_says_so() -> None:
    data = {
        "name": "gone",
        "entrypoint": "a:b",
        "metric": {"name": "loss", "mode": "min"},
        "baseline": {},
        "seeds": 2,
        "stopping": {"rule": "median", "max": 3},
        "design": "leave-two-out",
    }
    with pytest.raises(StudyError) as raised:
        read_spec(data)
    design, rule = sorted(raised.value.faults, key=str)
    assert (design.field, design.value, rule.field) == ("design", '"leave-two-out"', "stopping.rule")
    assert str(rule).endswith(
        'none or asha or resolve (got "median"); install what the study was started with'
    )
