"""Models: where each was and when, who wants it, its loads and evictions, and why."""

from .panels import (
    ENGINE,
    ENGINES,
    GREEN,
    HERE,
    INSTANCE,
    JOB,
    MARKS,
    MODEL,
    MODELS,
    ORANGE,
    RED,
    STATES,
    Board,
    Panel,
    Query,
    Row,
    halves,
    increase,
    over_all,
)

BY = "max by (instance, engine, model)"
NAMED = f'{MODEL}, model!="_other"'  # which is many
RESIDENT = f"{BY} (ullage_model_resident{{{NAMED}}})"
WANTED = f"{BY} (ullage_model_desired{{{NAMED}}})"
# A model's state as a number of STATES; 0 while its daemon answers and the model, which is there
# at some other time of those shown, is not.
STATE = (
    f"{BY} ("
    + " or ".join(
        f'{n} * ullage_model_resident{{{NAMED}, state="{state}"}}' for n, state, _ in STATES[1:]
    )
    + f") or 0 * {BY} (max_over_time(ullage_model_resident{{{NAMED}}}[$__range] @ end()))"
    + f" and on (instance) ullage_build_info{{{HERE}}}"
)

RESIDENCY = (
    Panel(
        "Where each model was",
        "The state of every model that was there at some time of those shown; named are the "
        "largest, up to a limit. A gap: nobody scraped. Lines through it are evictions.",
        (Query(STATE, "{{engine}}/{{model}} {{instance}}"),),
        type="state-timeline", width=24, height=12, words=STATES,
    ),
    Panel(
        "Wanted and there",
        "Models that a pin, a lease, a request, or their settings want, and models that hold "
        "memory. Wanted and not there: they are being loaded, wait for room, or cannot be.",
        (
            Query(f"count by (instance) ({WANTED})", "wanted {{instance}}"),
            Query(f"count by (instance) ({RESIDENT})", "there {{instance}}"),
            Query(f"count by (instance) ({WANTED} unless {RESIDENT})",
                  "wanted and not there {{instance}}", colour=RED),
        ),
        width=8, least=0,
    ),
    Panel(
        "Who wants them",
        "Every model that something wants to be there, and what that is.",
        (Query(f"max by (engine, model, by) (ullage_model_desired{{{NAMED}}})"),),
        type="table", width=8,
        labels=(("engine", "Engine"), ("model", "Model"), ("by", "Wanted by")),
    ),
    Panel(
        "By status",
        "Models by where they are: on disk, loading, loaded, asleep, leaving.",
        (Query(f'sum by (status) (ullage_models{{{ENGINE}, status!="absent"}})', "{{status}}"),),
        width=8, stacked=True, least=0,
    ),
)  # fmt: skip

USE = (
    Panel(
        "At work",
        "Requests that each model serves, where that can be told.",
        (Query(f"sum by (engine, model) (ullage_model_in_flight{{{MODEL}}})",
               "{{engine}}/{{model}}"),),
        width=8, least=0,
    ),
    Panel(
        "Last used",
        "How long ago each model was last seen at work: who is unused, is unloaded first.",
        (Query(f"time() - {BY} (ullage_model_last_used_timestamp_seconds{{{MODEL}}})",
               "{{engine}}/{{model}} {{instance}}"),),
        "s", width=8, least=0,
    ),
    Panel(
        "Held by clients",
        "Leases on each model, and pins. Neither is unloaded to make room.",
        (
            Query(f"sum by (engine, model) (ullage_model_leases{{{MODEL}}})",
                  "leases {{engine}}/{{model}}"),
            Query(f"sum(ullage_model_pinned{{{MODEL}}})", "pinned models", True),
        ),
        width=8, least=0,
    ),
)  # fmt: skip

LOADS = (
    Panel(
        "Loads",
        "Loads that were decided, by what became of them; each bar is a minute.",
        (Query(increase("ullage_model_loads_total", "engine, result", ENGINE),
               "{{engine}} {{result}}"),),
        width=8, stacked=True, bars=True, least=0,
    ),
    Panel(
        "How long loads take",
        "From the call until the model is there: half of them, and 19 of 20, took at most this "
        "long.",
        halves("ullage_model_load_duration_seconds", ENGINE),
        "s", width=8, least=0,
    ),
    Panel(
        "Loaded again soon",
        "Loads of models that had been unloaded less than ten minutes before: much of this, and "
        "there is too little memory for what is asked for; each bar is a minute.",
        (Query(increase("ullage_reloads_soon_total", "engine", ENGINE), "{{engine}}"),),
        width=8, stacked=True, bars=True, least=0,
    ),
    Panel(
        "Estimate and measurement",
        "What each model holds of a pool, beside what a load of it would be counted with.",
        (
            Query(f"sum by (engine, model, pool) (ullage_model_estimate_bytes{{{NAMED}}})",
                  column="Estimate", unit="bytes"),
            Query(f"sum by (engine, model, pool) (ullage_model_memory_bytes{{{NAMED}}})",
                  column="Measured", unit="bytes"),
        ),
        "bytes", "table",
        labels=(("engine", "Engine"), ("model", "Model"), ("pool", "Pool")),
    ),
    Panel(
        "How wrong estimates were",
        "By how much of the estimate loads took more or less: half of them, and 19 of 20, were "
        "wrong by at most this.",
        halves("ullage_load_estimate_error_ratio", ENGINE),
        "percentunit", least=0,
    ),
)  # fmt: skip

EVICTIONS = (
    Panel(
        "Evictions by trigger",
        "Unloads that were carried out, by what made the daemon plan them; each bar is a minute.",
        (Query(increase("ullage_evictions_total", "trigger", ENGINE, ', result="done"'),
               "{{trigger}}"),),
        width=8, stacked=True, bars=True, least=0,
    ),
    Panel(
        "Promised and returned",
        "What unloads were expected to give back, and what was measured. An engine that returns "
        "much less does not free what it says.",
        (
            Query(increase("ullage_eviction_promised_bytes_total", "engine", ENGINE),
                  "promised by {{engine}}", True),
            Query(increase("ullage_eviction_reclaimed_bytes_total", "engine", ENGINE),
                  "returned by {{engine}}"),
        ),
        "bytes", width=8, least=0,
    ),
    Panel(
        "What came back",
        "Unloads in the time that is shown, by what was measured after them.",
        (Query(over_all("ullage_eviction_verdicts_total", "verdict", ENGINE), "{{verdict}}"),),
        type="bargauge", width=8, least=0,
    ),
    Panel(
        "Until memory is back",
        "From the call of an unload until its bytes are back: half of them, and 19 of 20, took "
        "at most this long.",
        halves("ullage_eviction_duration_seconds", ENGINE),
        "s", width=8, least=0,
    ),
    Panel(
        "Left by themselves",
        "Models that went by their engine's own timer, a client, or an accident; each bar is a "
        "minute.",
        (Query(increase("ullage_departures_total", "engine", ENGINE), "{{engine}}"),),
        width=8, stacked=True, bars=True, least=0,
    ),
    Panel(
        "Requests that were ended",
        "How often requests of stuck models were to be ended, by what became of it; each bar is "
        "a minute.",
        (Query(increase("ullage_model_cancels_total", "result", ENGINE), "{{result}}"),),
        width=8, stacked=True, bars=True, least=0,
    ),
)  # fmt: skip

WHY = (
    Panel(
        "Why it acted",
        "Decisions by what made them necessary; each bar is a minute. `ullage why` tells of one "
        "model, the page of every decision.",
        (Query(increase("ullage_decisions_total", "trigger"), "{{trigger}}"),),
        width=8, stacked=True, bars=True, least=0,
    ),
    Panel(
        "What was unloaded, and why",
        "Unloads in the time that is shown, by engine, what made them necessary, and what became "
        "of them.",
        (Query(over_all("ullage_evictions_total", "engine, trigger, result", ENGINE) + " > 0",
               column="Times", steps=((1, GREEN),)),),
        type="table", width=8,
        labels=(("engine", "Engine"), ("trigger", "Why"), ("result", "Result")),
    ),
    Panel(
        "Why it was them",
        "Why the models that were unloaded were chosen; each bar is a minute.",
        (Query(increase("ullage_eviction_reasons_total", "reason", ENGINE), "{{reason}}"),),
        width=8, stacked=True, bars=True, least=0,
    ),
    Panel(
        "Watchdogs",
        "Models that watchdogs for idle and for stuck ones look at: whose time has come, and for "
        "whom something is done.",
        (Query(f"sum by (watchdog, state) (ullage_watchdog_models{{{HERE}}})",
               "{{watchdog}}: {{state}}"),),
        width=8, stacked=True, least=0,
    ),
    Panel(
        "What is wrong",
        "Findings by kind and engine; `ullage status` says of whom.",
        (Query(f"sum by (kind, engine) (ullage_findings{{{HERE}}})", "{{kind}} {{engine}}"),),
        width=8, stacked=True, least=0,
    ),
    Panel(
        "Rest",
        "Whether the daemon does nothing of its own accord, and which engines are drained.",
        (
            Query(f"ullage_paused{{{HERE}}}", "paused {{instance}}"),
            Query(f"ullage_engine_drained{{{ENGINE}}}", "drained {{engine}} {{instance}}"),
        ),
        type="state-timeline", width=8, words=((0, "no", GREEN), (1, "yes", ORANGE)),
    ),
)  # fmt: skip

BOARD = Board(
    "models",
    "Ullage: models",
    "Where each model was and when, who wants it, its loads and evictions, and why.",
    (JOB, INSTANCE, ENGINES, MODELS),
    MARKS,
    (
        Row("Residency", RESIDENCY),
        Row("Use", USE),
        Row("Loads", LOADS),
        Row("Evictions", EVICTIONS),
        Row("Why", WHY),
    ),
)
