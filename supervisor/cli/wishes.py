"""What is to be done with models: `ullage load`, `unload`, `evict`, `sleep`, `wake` and `plan`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from .asking import (
    EVICT_TIMEOUT,
    LOAD_TIMEOUT,
    REFUSED,
    Trouble,
    asks,
    examples,
    names,
    only_one,
    tell,
    word,
)
from .client import Answer, Client

DRY = "Only say what would be done; exit code 5: it would be refused."


def _how(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of those who make models go."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="The daemon's answer as it is."),
        click.option("--dry-run", is_flag=True, help=DRY),
        click.option("--later", is_flag=True, help="Do not wait until those in use have left."),
        click.option("--no-wait", is_flag=True, help="Those in use stay."),
        click.option("--force", is_flag=True, help="Busy ones too. Their requests fail."),
    ):
        command = option(command)
    return command


@click.command(epilog=examples(
    "ullage load qwen3:8b",
    "ullage load qwen3:8b --dry-run   # what would have to go for it",
))  # fmt: skip
@click.argument("model", shell_complete=names("installed"))
@click.option("--client", "asking", metavar="NAME", help="Who asks: what it used before may leave.")
@click.option("--dry-run", is_flag=True, help=DRY)
@click.option("--json", "as_json", is_flag=True, help="The daemon's answer as it is.")
@asks(LOAD_TIMEOUT)
def load(client: Client, model: str, asking: str | None, dry_run: bool, as_json: bool) -> None:
    """Make room for a model, then have its engine load it."""
    if dry_run:
        return _planned(client.post("/api/v1/plan", load=model), as_json)
    return _loaded(client.post("/api/v1/load", model=model, client=asking), model, as_json)


@click.command(epilog=examples("ullage wake qwen3:8b", "ullage wake qwen3:8b --dry-run"))
@click.argument("model", shell_complete=names("models"))
@click.option("--dry-run", is_flag=True, help=DRY)
@click.option("--json", "as_json", is_flag=True, help="The daemon's answer as it is.")
@asks(LOAD_TIMEOUT)
def wake(client: Client, model: str, dry_run: bool, as_json: bool) -> None:
    """Wake a model that sleeps, with room made for it first."""
    if dry_run:
        return _planned(client.post("/api/v1/plan", load=model), as_json)
    return _loaded(client.post("/api/v1/wake", model=model), model, as_json, "woken")


@click.command(epilog=examples("ullage sleep qwen3:8b", "ullage sleep a b"))
@click.argument("models", metavar="MODEL...", nargs=-1, required=True,
                shell_complete=names("models"))  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The daemon's answer as it is.")
@asks(EVICT_TIMEOUT)
def sleep(client: Client, models: tuple[str, ...], as_json: bool) -> None:
    """Let models sleep: off the accelerator, and back sooner than by a load."""
    answer = client.post("/api/v1/sleep", models=list(models))
    _gone(answer, models, as_json, "put to sleep")


@click.command(epilog=examples(
    "ullage unload qwen3:8b",
    "ullage unload --all --no-wait",
    "ullage unload qwen3:8b --dry-run",
))  # fmt: skip
@click.argument("models", metavar="[MODEL]...", nargs=-1, shell_complete=names("models"))
@click.option("--all", "every", is_flag=True, help="Every model that may go.")
@_how
@asks(EVICT_TIMEOUT)
def unload(client: Client, models: tuple[str, ...], every: bool, **how: bool) -> None:
    """Unload models by name, or all of them. Pinned ones stay.

    Those in use leave when they no longer are. That is waited for; Ctrl-C ends only the waiting.
    """
    only_one({"MODEL": models, "--all": every})
    if how["dry_run"]:
        return _would_go(client, models, how["force"], how["as_json"])
    body = {"models": list(models) or None, "all": every or None, "force": how["force"] or None}
    answer = client.post("/api/v1/unload", **body, wait=not how["no_wait"])
    _gone(answer, models, how["as_json"])
    return _farewell(client, answer, how)


@click.command(epilog=examples(
    "ullage evict qwen3:8b",
    "ullage evict --free 8GiB --pool gpu0",
    "ullage evict --all --no-wait",
))  # fmt: skip
@click.argument("models", metavar="[MODEL]...", nargs=-1, shell_complete=names("models"))
@click.option("--all", "every", is_flag=True, help="Every model that may go.")
@click.option("--free", metavar="SIZE", help="As many as it takes for this much headroom.")
@click.option("--pool", metavar="POOL", help="Where to make headroom: gpu0, ram, or a pool's id.")
@_how
@asks(EVICT_TIMEOUT)
def evict(
    client: Client,
    models: tuple[str, ...],
    every: bool,
    free: str | None,
    pool: str | None,
    **how: bool,
) -> None:
    """Unload models: by name, all of them, or as many as make room. Pinned ones stay.

    Those in use leave when they no longer are. That is waited for; Ctrl-C ends only the waiting.
    """
    only_one({"MODEL": models, "--all": every, "--free": free}, pool, free)
    if how["dry_run"] and free:
        return _planned(client.post("/api/v1/plan", free=free, pool=pool), how["as_json"])
    if how["dry_run"]:
        return _would_go(client, models, how["force"], how["as_json"])
    answer = client.post(
        "/api/v1/evict",
        models=list(models) or None,
        all=every or None,
        free=free,
        pool=pool,
        force=how["force"] or None,
        wait=not how["no_wait"],
    )
    if free:
        _refused(answer, f"{free} of headroom could not be made", how["as_json"])
    else:
        _gone(answer, models, how["as_json"])
    return _farewell(client, answer, how)


@click.command(epilog=examples(
    "ullage plan --load qwen3:32b",
    "ullage plan --free 8GiB --pool gpu0",
    "ullage plan --evict qwen3:8b --evict llama3:8b",
))  # fmt: skip
@click.option("--load", "model", metavar="MODEL", shell_complete=names("installed"),
              help="If this model were to be loaded.")  # fmt: skip
@click.option("--free", metavar="SIZE", help="If this much headroom were needed.")
@click.option("--pool", metavar="POOL", help="Where: gpu0, ram, or a pool's id.")
@click.option("--evict", "models", metavar="MODEL", multiple=True, help="If these were to go.",
              shell_complete=names("models"))  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The daemon's answer as it is.")
@asks()
def plan(
    client: Client,
    model: str | None,
    free: str | None,
    pool: str | None,
    models: tuple[str, ...],
    as_json: bool,
) -> None:
    """Say what would be done, and do nothing. Exit code 5: it would be refused."""
    only_one({"--load": model, "--free": free, "--evict": models}, pool, free)
    given = {"load": model, "free": free, "pool": pool, "evict": list(models) or None}
    _planned(client.post("/api/v1/plan", **given), as_json, bool(models))


# -- what becomes of it


def _planned(answer: Answer, as_json: bool, of_some: bool = False) -> None:
    """`of_some`: they were named, so whoever of them would stay is a refusal."""
    found = answer.document
    spared = {n["model"] for n in found["notes"]} - {a["model"] for a in found["actions"]}
    tell(answer, as_json)
    if not found["works"] or (of_some and spared):
        click.get_current_context().exit(REFUSED)


def _would_go(client: Client, models: Sequence[str], force: bool, as_json: bool) -> None:
    """A dry run of an unload; of all of them, if none is named."""
    every = not models
    if every:
        models = [m["name"] for m in client.get("/api/v1/models").document["models"]]
    if not models:
        return click.echo('{"actions": []}' if as_json else "no model is loaded")
    answer = client.post("/api/v1/plan", evict=list(models), force=force or None)
    return _planned(answer, as_json, of_some=not every)


def _loaded(answer: Answer, model: str, as_json: bool, what: str = "loaded") -> None:
    _refused(answer, f"{model} was not {what}", as_json, model)


def _refused(answer: Answer, failed: str, as_json: bool, model: str | None = None) -> None:
    """Says how a wish for room went: where there is none, how much there is, and who has it."""
    from .refused import refusal

    _carried(answer, as_json, refusal(answer, failed, model))


def _gone(
    answer: Answer,
    models: Sequence[str],
    as_json: bool,
    done: str = "unloaded",
) -> None:
    from .refused import ENFORCE, only_advised

    named = models[0] if len(models) == 1 else "not everything that was asked for"
    failed = f"{named} was {'not ' if len(models) == 1 else ''}{done}"
    try_ = f"ullage why {word(models[0])}" if models else "ullage status"
    notes = {n["why"]: n["model"] for n in answer.document["decision"]["notes"]}
    if "pinned" in notes and models:
        try_ = f"ullage unpin {word(notes['pinned'])}, or take its pin out of the configuration"
    elif "busy" in notes and models:
        try_ = f"ullage evict --force {word(notes['busy'])}  # its requests fail"
    if only_advised(answer.document["decision"]):
        try_ = ENFORCE
    sentences = answer.document["sentences"]  # the first says what was asked for
    _carried(answer, as_json, Trouble(REFUSED, failed, sentences[1:] or sentences, try_))


def _carried(answer: Answer, as_json: bool, trouble: Trouble) -> None:
    """What became of a wish. The daemon's `ok` says whether it was fulfilled."""
    if as_json:
        click.echo(answer.text)
    if not answer.document["ok"]:
        raise trouble
    if not as_json:
        tell(answer, False)


def _farewell(client: Client, answer: Answer, how: dict[str, Any]) -> None:
    leaving = answer.document.get("leaving")
    if leaving and not how["later"] and not how["as_json"]:
        from .farewell import wait

        wait(client, [row["model"] for row in leaving])
