"""The table of an engine that is described: where it lists its models, how it is told what.

Without a word it is a server that lists what is loaded as OpenAI's API does, and can do nothing
else. What is read is told by JSONPaths (RFC 9535): of the entry of one model, unless said.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import combinations
from typing import Any

from supervisor.units import shown

from . import forms
from .described_forms import (
    ARGUMENTS,
    ASKING,
    BODY,
    COUNTS,
    FIXED_HEADERS,
    FIXED_PATH,
    HEADERS,
    METHOD,
    NAME,
    PATH,
    PICK,
    STATUSES,
    UNIT,
    WORDS,
)
from .table import Table, setting
from .templates import names_model

VERBS = ("load", "unload", "sleep", "wake")
STATES = ("loaded", "loading", "sleeping", "unloaded")
PARTS = ("api", "method", "body", "headers")


class Description(Table):
    """What may be said of an engine of kind http. `${MODEL}` is a model's name."""

    list_api: str = setting("/v1/models", FIXED_PATH, "Where it lists its models.")
    list_method: str = setting("GET", ASKING, "GET, or a POST that only asks.")
    list_body: Any = setting(None, BODY, "The body of that POST.")
    models: str = setting("$.data[*]", PICK, "Each model's entry in that list.")
    name: str = setting("$.id", NAME, "A model's name; key: what its entry is listed under.")
    state: str | None = setting(
        None, PICK, "The word for its state. Without it, all that are listed are loaded."
    )
    loaded: tuple[str, ...] = setting(
        ("loaded", "ready", "running", True), WORDS, "States in which it is loaded; *: any."
    )
    loading: tuple[str, ...] = setting(
        ("loading", "starting"), WORDS, "States in which it is being loaded."
    )
    sleeping: tuple[str, ...] = setting(
        ("sleeping", "asleep"), WORDS, "States in which it sleeps: its memory is given back."
    )
    unloaded: tuple[str, ...] = setting(
        ("unloaded", "unavailable", "stopped", False),
        WORDS,
        'States in which it holds no memory; "null": there is no such value.',
    )
    loaded_api: str | None = setting(
        None,
        FIXED_PATH,
        "A second list, of the loaded; the rest is read there, file_bytes in the first.",
    )
    loaded_models: str | None = setting(
        None, PICK, "Each model's entry in the second list.", shown="as models"
    )
    loaded_name: str | None = setting(
        None, NAME, "A model's name in the second list.", shown="as name"
    )
    bytes: str | None = setting(None, PICK, "All the memory that it holds.")
    gpu_bytes: str | None = setting(None, PICK, "What it holds on accelerators.")
    file_bytes: str | None = setting(None, PICK, "The size of its file, in the first list.")
    bytes_unit: str = setting("B", UNIT, "What those three are counted in, as MiB or GB.")
    context: str | None = setting(None, PICK, "The length of its context, in tokens.")
    pid: str | None = setting(None, PICK, "The process that holds it, and no other model.")
    process: tuple[str, ...] | None = setting(
        None, ARGUMENTS, "Words that stand together in the command line of that process."
    )
    one_model: bool = setting(
        False, forms.SWITCH, "It holds one model at a time, in processes of its own."
    )
    activity_api: str | None = setting(
        None, PATH, "Where it tells what it works on; else that stands in the list."
    )
    in_flight: str | tuple[str, ...] | None = setting(
        None,
        COUNTS,
        "Requests that are being served or wait, added up: numbers, or Prometheus metrics.",
    )
    last_used: str | None = setting(
        None, PICK, "Something that changes whenever the model has worked, in the list."
    )
    identify_api: str | None = setting(
        None, FIXED_PATH, "What to ask to know that it is this engine, and which version."
    )
    identify_pick: str | None = setting(None, PICK, "What of that answer tells it.")
    identify_value: str | None = setting(None, forms.TEXT, "What stands there, if not a version.")
    headers: dict[str, str] | None = setting(None, FIXED_HEADERS, "Sent with every call.")
    load_api: str | None = setting(None, PATH, "How it is told to load a model.")
    load_method: str = setting("POST", METHOD, "The method of that call.")
    load_body: Any = setting(None, BODY, "The body of that call.")
    load_headers: dict[str, str] | None = setting(None, HEADERS, "Sent with that call alone.")
    unload_api: str | None = setting(None, PATH, "How it is told to unload a model.")
    unload_method: str = setting("POST", METHOD, "The method of that call.")
    unload_body: Any = setting(None, BODY, "The body of that call.")
    unload_headers: dict[str, str] | None = setting(None, HEADERS, "Sent with that call alone.")
    sleep_api: str | None = setting(None, PATH, "How a model's memory is given back for a while.")
    sleep_method: str = setting("POST", METHOD, "The method of that call.")
    sleep_body: Any = setting(None, BODY, "The body of that call.")
    sleep_headers: dict[str, str] | None = setting(None, HEADERS, "Sent with that call alone.")
    wake_api: str | None = setting(None, PATH, "How a sleeping model is made ready again.")
    wake_method: str = setting("POST", METHOD, "The method of that call.")
    wake_body: Any = setting(None, BODY, "The body of that call.")
    wake_headers: dict[str, str] | None = setting(None, HEADERS, "Sent with that call alone.")
    success: str | None = setting(
        None, PICK, "What of the answer to those calls must be true. None: any status below 300."
    )
    success_values: tuple[str, ...] | None = setting(
        None, WORDS, "What may stand there.", shown="anything but 0, false and nothing"
    )
    gone_status: tuple[int, ...] = setting(
        (404,), STATUSES, "Statuses that say of an unload that the model is gone already."
    )

    def call(self, verb: str) -> tuple[Any, ...]:
        """How it is told to `verb`: path, method, body, headers; the path None where it is not."""
        return tuple(getattr(self, f"{verb}_{part}") for part in PARTS)

    @property
    def orders(self) -> tuple[tuple[str, str], ...]:
        """Method and path of each of those calls that there is."""
        calls = (self.call(verb) for verb in VERBS)
        return tuple((method, path) for path, method, _, _ in calls if path is not None)

    def names_model(self, verb: str) -> bool:
        """Does that call say which model?"""
        path, _, body, headers = self.call(verb)
        return any(names_model(template) for template in (path, body, headers))

    def states(self) -> dict[str, str]:
        """Which of STATES each word stands for; what is said wins over what is usual."""
        said = sorted(STATES, key=lambda state: state in self.model_fields_set)
        return {word: state for state in said for word in getattr(self, state)}

    def mistakes(self, written: Collection[str]) -> Iterator[tuple[str, str]]:
        """The key and what is wrong with it, where that takes more than one key to see. `written`
        are those that the file has, also where what it has could not be read."""
        parts = {f"{verb}_{part}": f"{verb}_api" for verb in VERBS for part in PARTS[1:]}
        for key, needed in {**_NEEDS, **parts}.items():
            if key in written and needed not in written:
                yield key, f"is of no use without {needed}"
        if "sleep_api" in written and "state" not in written:
            yield "sleep_api", "needs `state`: a sleeping model must be told from a loaded one"
        if "load_api" in written and not {"state", "loaded_api"} & set(written):
            yield "load_api", "needs `state` or `loaded_api`: it must show what is not loaded"
        if isinstance(self.in_flight, tuple) and "activity_api" not in written:
            yield "in_flight", "needs `activity_api`: metrics are not in the list"
        given = [state for state in STATES if state in self.model_fields_set]
        for state, other in combinations(given, 2):
            if twice := set(getattr(self, state)) & set(getattr(self, other)):
                yield other, f"{shown(min(twice))} stands in `{state}` too"


_NEEDS = {
    "list_body": "list_method",
    "loaded_models": "loaded_api",
    "loaded_name": "loaded_api",
    "identify_pick": "identify_api",
    "identify_value": "identify_pick",
    "activity_api": "in_flight",
    "success_values": "success",
    "sleep_api": "wake_api",  # what sleeps must wake again
    "wake_api": "sleep_api",
}
