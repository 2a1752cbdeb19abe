"""The effects of a study as a table for Python, drawn in a notebook as on the report's page."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.api.datatable import DataTable, table_of
from orchestrator.reporting.effects_json import effect_rows
from orchestrator.reporting.model import StudyReport

COLUMNS = {
    **dict.fromkeys(("phase", "arm", "kind", "reference"), "text"),
    "n": "integer",
    **dict.fromkeys(("delta", "lo", "hi", "p", "p_holm"), "number"),
    "verdict": "text",
    "flags": "texts",
    "method": "text",
    **dict.fromkeys(("runs", "failed"), "integer"),
    **dict.fromkeys(("wall_s", "gpu_s"), "number"),
    "components": "texts",
    **dict.fromkeys(("sd", "se", "df", "wide_lo", "wide_hi", "p_equivalent", "p_permutation", "q"), "number"),
    **dict.fromkeys(("percent", "d_sd", "g_z"), "number"),
    **dict.fromkeys(("look", "seeds_needed"), "integer"),
    "trial_dir": "text",
}


@dataclass(frozen=True)
class EffectsTable(DataTable):
    """One row per effect and phase; the keys of `effects.json` that are single values."""

    report: StudyReport

    @classmethod
    def of(cls, report: StudyReport) -> EffectsTable:
        """Return the effects of every phase, the one to be read first in front."""
        rows = [{name: row[name] for name in COLUMNS} for row in effect_rows(report)]
        return cls(table_of(rows, COLUMNS).arrow, report)

    def _repr_html_(self) -> str:
        from orchestrator.reporting.notebook import effects_html

        return effects_html(self.report)
