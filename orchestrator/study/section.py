"""What every section of a study file is: frozen, exactly its keys, and each key with its docstring."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

Text = Annotated[str, StringConstraints(min_length=1, max_length=500)]


class Section(BaseModel):
    """A mapping of a study file."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, serialize_by_alias=True, use_attribute_docstrings=True
    )
