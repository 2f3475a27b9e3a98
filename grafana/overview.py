"""The fleet at a glance: every host, what it has left, what was done, what is wrong."""

from .panels import (
    HERE,
    INSTANCE,
    JOB,
    MARKS,
    ORANGE,
    PRESSURE,
    RED,
    UP,
    YELLOW,
    YES,
    Board,
    Panel,
    Query,
    Row,
    increase,
    over_all,
)

ACCELERATORS = f'on (instance, pool) ullage_memory_capacity_bytes{{{HERE}, kind!="ram"}}'
THERE = "loading|loaded|sleeping|leaving"
LEFT = f"ullage_memory_headroom_bytes{{{HERE}}} / ullage_memory_capacity_bytes{{{HERE}}}"
EVICTED = f'ullage_evictions_total{{{HERE}, result="done"}}'
AGE = f"time() - ullage_sample_timestamp_seconds{{{HERE}}}"

NOW = (
    Panel(
        "Hosts that do not answer",
        "Daemons that Prometheus knows and could not scrape.",
        (Query(f"sum(up{{{HERE}}} == bool 0)"),),
        type="stat", width=4, height=4, steps=((1, RED),),
    ),
    Panel(
        "Least headroom",
        "Of all pools, what the fullest one has left, as a share of its capacity. Below 0 models "
        "are unloaded until it is made good.",
        (Query(f"min({LEFT})"),),
        "percentunit", "stat", 4, 4, lowest=RED, steps=((0, YELLOW), (0.05, "green")),
    ),
    Panel(
        "Pools under pressure",
        "Pools that are below their reserve, or whose models are beyond their budget.",
        (Query(f"sum(ullage_pressure{{{HERE}}} > bool 0)"),),
        type="stat", width=4, height=4, steps=((1, YELLOW),),
    ),
    Panel(
        "Models there",
        "Models that hold memory, loading and leaving ones too.",
        (Query(f'sum(ullage_models{{{HERE}, status=~"{THERE}"}})'),),
        type="stat", width=4, height=4,
    ),
    Panel(
        "Models unloaded",
        "Evictions that were carried out in the time that is shown.",
        (Query(f"round(sum(increase({EVICTED}[$__range])))"),),
        type="stat", width=4, height=4,
    ),
    Panel(
        "Wrong now",
        "Findings of this moment, on all hosts together.",
        (Query(f"sum(ullage_findings{{{HERE}}})"),),
        type="stat", width=4, height=4, steps=((1, YELLOW),),
    ),
)  # fmt: skip

HOSTS = (
    Panel(
        "Hosts",
        "One line a daemon, those that do not answer too. A click on its name leads to its page.",
        (
            Query(f"max by (instance) (up{{{HERE}}})", column="Daemon", words=UP),
            Query(f"max by (instance, version) (ullage_build_info{{{HERE}}})"),
            Query(f"max by (instance) ({AGE})", column="Last snapshot", unit="s",
                  steps=((15, YELLOW), (60, RED))),
            Query(f"max by (instance) (ullage_pressure{{{HERE}}})", column="Pressure",
                  words=PRESSURE),
            Query(f"min by (instance) ({LEFT})", column="Least headroom", unit="percentunit"),
            Query(f'sum by (instance) (ullage_models{{{HERE}, status=~"{THERE}"}})',
                  column="Models"),
            Query(f"sum by (instance) (ullage_findings{{{HERE}}})", column="Findings",
                  steps=((1, YELLOW),)),
            Query(f"max by (instance) (ullage_paused{{{HERE}}})", column="Paused", words=YES),
            Query(f"min by (instance) (ullage_engine_up{{{HERE}}})", column="Engines", words=(
                (0, "one is down", RED), (1, "all up", "green"))),
        ),
        type="table", width=24, height=7, link="host",
        labels=(("instance", "Host"), ("version", "Version")),
    ),
)  # fmt: skip

MEMORY = (
    Panel(
        "Headroom",
        "What may still be given to models, as a share of each pool. Below 0 is a shortfall.",
        (Query(LEFT, "{{instance}} {{pool}}"),),
        "percentunit", lowest=RED, steps=((0, "green"),),
    ),
    Panel(
        "Who has the accelerators' memory",
        "Used bytes of all accelerators by engine; _external are processes that no engine owns, "
        "_unknown is what nobody claims. The dashed line is all that programs can be given.",
        (
            Query(f"sum by (owner) (ullage_memory_attributed_bytes{{{HERE}}} and {ACCELERATORS})",
                  "{{owner}}"),
            Query(f'sum(ullage_memory_capacity_bytes{{{HERE}, kind!="ram"}})', "capacity", True),
        ),
        "bytes", stacked=True, least=0,
    ),
    Panel(
        "Pressure",
        "Which pools were below their reserve or beyond their budget, and when. A gap: the pool "
        "could not be read, or nobody scraped.",
        (Query(f"ullage_pressure{{{HERE}}}", "{{instance}} {{pool}}"),),
        type="state-timeline", width=24, words=PRESSURE,
    ),
)  # fmt: skip

DONE = (
    Panel(
        "Evictions by trigger",
        "Unloads that were carried out, by what made the daemon plan them; each bar is a minute.",
        (Query(increase("ullage_evictions_total", "trigger", more=', result="done"'),
               "{{trigger}}"),),
        width=8, stacked=True, bars=True, least=0,
    ),
    Panel(
        "Loads",
        "Loads that were decided, by what became of them; each bar is a minute.",
        (Query(increase("ullage_model_loads_total", "result"), "{{result}}"),),
        width=8, stacked=True, bars=True, least=0,
    ),
    Panel(
        "Promised and returned",
        "What unloads were expected to give back, and what was measured. An engine that returns "
        "much less does not free what it says.",
        (
            Query(increase("ullage_eviction_promised_bytes_total", "engine"),
                  "promised by {{engine}}", True),
            Query(increase("ullage_eviction_reclaimed_bytes_total", "engine"),
                  "returned by {{engine}}"),
        ),
        "bytes", width=8, least=0,
    ),
)  # fmt: skip

ALERTS = (
    Panel(
        "Alerts that fire",
        "By Prometheus's own word: of the rules in deploy/prometheus, those that hold now.",
        (Query('count by (alertname, severity, instance) '
               f'(ALERTS{{{HERE}, alertname=~"Ullage.+", alertstate="firing"}})',
               column="Times", steps=((1, ORANGE),)),),
        type="table", width=6,
        labels=(("alertname", "Alert"), ("severity", "Severity"), ("instance", "Host")),
    ),
    Panel(
        "Alerts that were sent here",
        "What Alertmanager told the daemons, by what became of it; each bar is a minute.",
        (Query(increase("ullage_alerts_total", "outcome"), "{{outcome}}"),),
        width=6, stacked=True, bars=True, least=0,
    ),
    Panel(
        "What alerts did",
        "Actions that alerts asked for in the time that is shown, by what became of them.",
        (Query(over_all("ullage_alert_actions_total", "action, outcome"),
               "{{action}}: {{outcome}}"),),
        type="bargauge", width=6, least=0,
    ),
    Panel(
        "Alerts in force",
        "Holds that last while their alerts fire: paused admission, raised reserves, pins.",
        (Query(f"sum by (instance, action) (ullage_alert_holds{{{HERE}}})",
               "{{action}} {{instance}}"),),
        width=6, stacked=True, least=0,
    ),
)  # fmt: skip

WRONG = (
    Panel(
        "Findings by kind",
        "What is wrong, by kind; `ullage status` says where.",
        (Query(f"sum by (kind) (ullage_findings{{{HERE}}})", "{{kind}}"),),
        width=8, stacked=True, least=0,
    ),
    Panel(
        "Engines",
        "Whether each engine answered when it was last asked.",
        (Query(f"ullage_engine_up{{{HERE}}}", "{{instance}} {{engine}}"),),
        type="state-timeline", width=8, words=UP,
    ),
    Panel(
        "Age of the numbers",
        "How long ago the latest snapshot was taken. Everything else on this page is as old.",
        (Query(AGE, "{{instance}}"),),
        "s", width=8, least=0,
    ),
)  # fmt: skip

BOARD = Board(
    "overview",
    "Ullage: overview",
    "Every host: headroom, who has the memory, what was unloaded for it, and what is wrong.",
    (JOB, INSTANCE),
    MARKS,
    (
        Row("Now", NOW),
        Row("Hosts", HOSTS),
        Row("Memory", MEMORY),
        Row("What was done", DONE),
        Row("Alerts", ALERTS),
        Row("What is wrong", WRONG),
    ),
)
