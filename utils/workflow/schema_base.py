"""What every section of the configuration is made of: the strict base class, a key with its sentence, common types."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Direction = Literal["ascending", "descending"]
Polarisation = Literal["VV", "VH"]


def as_tuple(value: Any) -> Any:
    """YAML sequences become tuples, so that strict models stay immutable."""
    return tuple(value) if isinstance(value, list) else value


def _as_ratio(value: Any) -> Any:
    """Accept a number or the published text form `a/b` (the published train.yaml writes s2_scale: 1/7)."""
    if isinstance(value, str) and value.count("/") == 1:
        top, bottom = (part.strip() for part in value.split("/"))
        if top.isdigit() and bottom.isdigit() and int(bottom) != 0:
            return int(top) / int(bottom)
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


Strings = Annotated[tuple[str, ...], BeforeValidator(as_tuple)]
Floats = Annotated[tuple[float, ...], BeforeValidator(as_tuple)]
Integers = Annotated[tuple[int, ...], BeforeValidator(as_tuple)]
Classes = Annotated[tuple[Annotated[int, Field(ge=1, le=11)], ...], BeforeValidator(as_tuple)]
S2Band = Literal["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"]
S2Bands = Annotated[tuple[S2Band, ...], BeforeValidator(as_tuple)]
Pols = Annotated[tuple[Polarisation, ...], BeforeValidator(as_tuple)]
Ratio = Annotated[float, BeforeValidator(_as_ratio)]


class Section(BaseModel):
    """Base of all sections: unknown keys refused, values immutable, no silent conversion."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def key(default: Any, text: str, unit: str = "", **limits: Any) -> Any:
    """A configuration key with its default, its sentence and its unit (empty text: no unit applies)."""
    return Field(default, description=text, json_schema_extra={"unit": unit}, **limits)
