"""`orchestrate analyse` as a user meets it: a file in, effects out, or a line that says what is wrong."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import jsonschema
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.api import tablefile

PAGE = Path(__file__).parents[2] / "docs" / "analyse.md"
GOOD = {"baseline": (0.939, 0.941, 0.940), "no-aug": (0.901, 0.899, 0.909), "no-bn": (0.938, 0.941, 0.939)}
HEAD = "arm,seed,accuracy\n"
ROWS = [f"{arm},{seed},{value}" for arm, values in GOOD.items() for seed, value in enumerate(values)]
TEXT = HEAD + "\n".join(ROWS) + "\n"


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    (tmp_path / "results.csv").write_text(TEXT)
    return tmp_path / "results.csv"


def test_the_table_for_people(command, csv) -> None:
    result = command("analyse", csv)
    assert result.code == 0
    first, reference, headline, *rest = result.out.splitlines()
    assert first == "results.csv  accuracy, higher is better"
    assert reference == "baseline: mean 0.9400, SD 0.0010, n = 3"
    assert headline == "1 of 2 arms matters: no-aug, −3.70 pp; 1 unresolved."
    assert any(line.startswith("  Arm no-aug lowers accuracy by 3.70 pp (95 % CI") for line in rest)
    assert "trials" not in result.out


def test_the_document_for_programs(command, csv, fits) -> None:
    found = command("analyse", csv, "--margin", "0.01", "--json").document
    fits("analyse", found)
    fits("analyse", command("analyse", csv, "--variance", "per_arm", "--json").document)
    with pytest.raises(jsonschema.ValidationError):
        fits("analyse", {**found, "effects": [{**found["effects"][0], "trial_dir": "trials"}]})
    assert found["baseline"]["mean"] == pytest.approx(0.94)
    assert [(row["arm"], row["verdict"]) for row in found["effects"]] == [
        ("no-aug", "hurts"),
        ("no-bn", "practically equivalent"),
    ]
    assert found["effects"][0]["differences"] == pytest.approx([-0.038, -0.042, -0.031])


def test_the_forms_of_the_report(command, csv) -> None:
    markdown = command("analyse", csv, "--markdown").out
    assert "| no-aug | 90.30 ± 0.53 | **−3.70** |" in markdown
    assert "GPU-hours" not in markdown
    wide, slim = (command("analyse", csv, "--latex", *more).out for more in ((), ("--slim",)))
    assert "time" not in wide
    assert r"\toprule" in slim
    assert command("analyse", csv, "--json", "--markdown").faults == [
        "error: one form at a time (got --json --markdown)"
    ]
    assert command("analyse", csv, "--slim").faults == ["error: --slim: is for LaTeX tables; add --latex"]


@pytest.mark.parametrize("sign", [";", "\t"])
def test_other_separators_and_a_byte_order_mark(command, csv, sign) -> None:
    wanted = command("analyse", csv).out
    csv.write_text("\ufeff" + TEXT.replace(",", sign), encoding="utf-8")
    assert command("analyse", csv).out == wanted


def test_parquet_and_the_rows_that_are_wanted(command, tmp_path) -> None:
    rows = [row.split(",") for row in ROWS]
    table = pa.table(
        {
            "arm": [arm for arm, _, _ in rows] * 2,
            "seed": [int(seed) for _, seed, _ in rows] * 2,
            "value": [float(value) for *_, value in rows] + [0.5] * len(rows),
            "wall_s": [1.0] * 2 * len(rows),
            "phase": ["fixed"] * len(rows) + ["retuned"] * len(rows),
        }
    )
    pq.write_table(table, tmp_path / "results.parquet")
    words = ("analyse", tmp_path / "results.parquet")
    assert (
        command(*words)
        .faults[0]
        .endswith(
            "several columns could be the metric (got value, wall_s); "
            "name it: --metric on the command line, metric= in Python"
        )
    )
    twice = command(*words, "--metric", "value")
    assert (twice.code, len(twice.faults)) == (2, 9)
    assert "1 of 2 arms matters" in command(*words, "--metric", "value", "--where", "phase=fixed").out
    assert "no row is left (got phase=x)" in command(*words, "--where", "phase=x").err
    assert "is no condition (got phase)" in command(*words, "--where", "phase").err


def test_pairs_that_are_not_there_are_named(command, csv) -> None:
    csv.write_text(HEAD + "\n".join([*ROWS[:2], "baseline,2,NaN", *ROWS[3:8]]))
    out = command("analyse", csv).out
    assert "  baseline has no value for seed 2: every arm loses its pair there." in out
    assert "  no-bn has no value for seed 2: it has no pair there." in out


def test_names_that_act_on_a_terminal_are_escaped(command, csv) -> None:
    csv.write_text(TEXT.replace("no-aug", "\x1b[31mno\u202eaug|<b>"))
    for form in ("", "--json", "--markdown", "--latex"):
        result = command("analyse", csv, *filter(None, [form]))
        assert result.code == 0
        assert not {"\x1b", "\u202e"} & set(result.out)
    assert "<b>" not in command("analyse", csv, "--markdown").out.replace(r"\<b\>", "")
    refused = command("analyse", csv, "--baseline", "\x1b[31m")
    assert (refused.code, "\x1b" in refused.err) == (2, False)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty; a CSV file with a line of names, or Parquet"),
        (b"\n \n", "is empty"),
        (HEAD.encode(), "there are no rows; one row per run"),
        (b"\x89PNG\r\n\x1a\n\0\0", "is neither CSV nor Parquet: zero bytes"),
        (b"arm,seed,x\n\xff\xfe,0,1\n", "is neither CSV nor Parquet: 'utf-8' codec"),
        (b"PAR1 and then nothing", "is neither CSV nor Parquet: "),
        (b"arm,seed,x\na,0\n", "is neither CSV nor Parquet: CSV parse error: Expected 3 columns, got 2"),
        (b"," * 10_001, "is neither CSV nor Parquet: more columns"),
        (b'{"arm": "baseline"}\n', "arm: there is no such column"),
        (b"arm,seed,x,x\na,0,1,2\n", "x: is the name of several columns"),
        ((HEAD + "\n".join(ROWS[3:])).encode(), 'baseline: there is no such arm (got "baseline")'),
        ((HEAD + "\n".join(ROWS[::3])).encode(), "no arm has two seeds in common with the baseline"),
        ((HEAD + "\n".join([*ROWS, ROWS[0]])).encode(), "row 10, seed: is there twice (got 0)"),
        (TEXT.replace("0.899", "high").encode(), 'row 5, accuracy: is no number (got "high")'),
        (TEXT.replace("accuracy", "loss").encode(), "mode: lower seems to be better, by its name"),
    ],
)
def test_a_file_that_cannot_be_used_is_told(command, csv, content, said) -> None:
    csv.write_bytes(content)
    result = command("analyse", csv)
    assert result.code == 2
    assert result.out == ""
    assert result.faults[0].startswith(f"error: {csv}: {said}")


def test_what_is_no_file_or_too_large(command, tmp_path, csv, monkeypatch) -> None:
    assert "there is no such file" in command("analyse", tmp_path / "none.csv").err
    assert "is no file" in command("analyse", tmp_path).err
    monkeypatch.setattr(tablefile, "MOST_BYTES", 10)
    assert "is larger than" in command("analyse", csv).err
    assert command("analyse", csv).code == 2


def test_every_block_of_the_page_runs(command, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    shown = []
    for kind, text in re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        if kind == "python":
            exec(compile(text, str(PAGE), "exec"), names)
        elif kind == "sh":
            results = [command(*shlex.split(line)[1:]) for line in text.splitlines()]
            assert {result.code for result in results} == {0}
            shown.append(results[0].out)
        else:
            assert shown[-1].startswith(text)
