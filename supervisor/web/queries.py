"""What may be asked after the question mark."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from supervisor.core.plan import Trigger
from supervisor.core.record import Result

from .values import YEAR_9999, Among, DecisionId, Flag, Number, Whole

Name = Annotated[str, Field(min_length=1, max_length=500)]
Id = Annotated[str, DecisionId()]


class Query(BaseModel):
    """Nothing may be asked but what is here, and each of it once."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, defer_build=True)


class OfModel(Query):
    model: Annotated[Name | None, Field(description="those of this model alone")] = None


class Which(Query):
    model: Annotated[Name, Field(description="its name")]


class Logs(Which):
    lines: Annotated[int, Whole(1, 10_000), Field(description="how many, the last ones")] = 50


class Days(Query):
    days: Annotated[float, Number(0.001, 30.0), Field(description="how far back")] = 7.0


class Decisions(Query):
    """The newest first. For the next page, `before` is the `next` of this one."""

    limit: Annotated[int, Whole(1, 1000), Field(description="how many at most")] = 50
    before: Annotated[Id | None, Field(description="older than the one of this id")] = None
    after: Annotated[Id | None, Field(description="newer than the one of this id")] = None
    model: Annotated[Name | None, Field(description="those that considered it")] = None
    engine: Annotated[Name | None, Field(description="those that considered one of its")] = None
    trigger: Annotated[str | None, Among(Trigger), Field(description="what made us plan")] = None
    result: Annotated[str | None, Among(Result), Field(description="of one of its actions")] = None
    since: Annotated[float | None, Number(0.0, YEAR_9999), Field(description="Unix time")] = None
    until: Annotated[float | None, Number(0.0, YEAR_9999), Field(description="Unix time")] = None


class Processes(Query):
    pool: Annotated[Name | None, Field(description="those that hold bytes of it")] = None
    limit: Annotated[int, Whole(1, 10_000), Field(description="how many, the largest")] = 100


class Findings(Query):
    limit: Annotated[int, Whole(1, 1000), Field(description="how many of the past")] = 50


class Unsetting(Query):
    apply_now: Annotated[bool, Flag(), Field(description="also for those who are there")] = False
    dry_run: Annotated[bool, Flag(), Field(description="only tell what it would do")] = False
