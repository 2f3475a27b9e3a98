"""What a table of the configuration file is made of: keys, each with its form and its meaning."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from . import forms
from .forms import Form


def setting(
    default: object, form: Form, help: str, *, at: str | None = None, shown: str | None = None
) -> Any:
    """A scalar key. `at` is where Config holds it; `shown` stands for a default of None."""
    extra: Any = {"form": form, "at": at, "shown": shown}
    return Field(default, validate_default=True, description=help, json_schema_extra=extra)


class Table(BaseModel):
    """A table of the file. Values are written as their Form says; unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @field_validator("*", mode="before")
    @classmethod
    def _read(cls, value: Any, info: ValidationInfo) -> Any:
        form = form_of(cls, info.field_name or "")
        if form is None or value is None:  # no file can say None: it is the default
            return value
        read = form.read(value)
        if form is forms.PATH and info.context is not None:
            return info.context["folder"] / read
        return read


def form_of(table: type[BaseModel], name: str) -> Form | None:
    """How a key of `table` is written. None: it is a table itself."""
    extra = table.model_fields[name].json_schema_extra
    found: Any = extra.get("form") if isinstance(extra, dict) else None
    return found if isinstance(found, Form) else None
