"""A fleet: which hosts are there, what each has left by its own word and by the ledger, and where
models are placed. Of each host it asks only what deploy/prometheus/recording.yml records."""

from .panels import (
    BLUE,
    GREEN,
    GREY,
    HERE,
    INSTANCE,
    JOB,
    MARKS,
    ORANGE,
    PRESSURE,
    RED,
    UP,
    YELLOW,
    Board,
    Panel,
    Query,
    Row,
    increase,
    over_all,
)

ACCELERATORS = f'{HERE}, kind!="ram"'
THERE = "loading|loaded|sleeping|leaving"
LEFT = (
    f"sum by (instance) (instance_kind:ullage_memory_headroom_bytes:sum{{{ACCELERATORS}}}) / "
    f"sum by (instance) (instance_kind:ullage_memory_capacity_bytes:sum{{{ACCELERATORS}}})"
)
FAILED = (
    f"sum by (instance) (instance:ullage_request_failures:rate5m{{{HERE}}}) / "
    f"(sum by (instance) (instance:ullage_requests:rate5m{{{HERE}}}) > 0)"
)
SEEN = f"ullage_fleet_hosts{{{HERE}"

NOW = (
    Panel(
        "Hosts that are here",
        "As most of the hosts know them. Where hosts do not agree the fleet is split: see below.",
        (Query(f'max({SEEN}, presence="here"}})'),),
        type="stat", width=4, height=4,
    ),
    Panel(
        "Silent or lost",
        "The most that any host misses.",
        (Query(f'max(sum by (instance) ({SEEN}, presence=~"silent|lost"}}))'),),
        type="stat", width=4, height=4, steps=((1, RED),),
    ),
    Panel(
        "Drained",
        "Hosts that an operator has taken out: nothing is placed there.",
        (Query(f'max({SEEN}, presence="drained"}})'),),
        type="stat", width=4, height=4, steps=((1, YELLOW),),
    ),
    Panel(
        "Alone",
        "Hosts whose agent does not answer, or is not connected: each of them serves what it has "
        "and places nothing elsewhere.",
        (Query(f"sum(ullage_fleet_agent_up{{{HERE}}} == bool 0) + "
               f"(sum(ullage_fleet_connected{{{HERE}}} == bool 0) or "
               f"sum(ullage_fleet_agent_up{{{HERE}}}) * 0)"),),
        type="stat", width=4, height=4, steps=((1, RED),),
    ),
    Panel(
        "Headroom of all accelerators",
        "What may still be given to models on all hosts, by their own measurement.",
        (Query(f"sum(instance_kind:ullage_memory_headroom_bytes:sum{{{ACCELERATORS}}})"),),
        "bytes", "stat", 4, 4, lowest=RED, steps=((0, GREEN),),
    ),
    Panel(
        "What is wrong",
        "What the agents say of the fleet, at most; `ullage fleet status` has the sentences.",
        (Query(f"max(ullage_fleet_troubles{{{HERE}}})"),),
        type="stat", width=4, height=4, steps=((1, YELLOW),),
    ),
)  # fmt: skip

HOSTS = (
    Panel(
        "Hosts",
        "One line a daemon. A click on its name leads to its own page, where its own Prometheus "
        "is asked.",
        (
            Query(f"max by (instance, version) (ullage_build_info{{{HERE}}})"),
            Query(f"max by (instance) (ullage_fleet_agent_up{{{HERE}}})", column="Agent",
                  words=UP),
            Query(f"max by (instance) (instance:ullage_pressure:max{{{HERE}}})",
                  column="Pressure", words=PRESSURE),
            Query(LEFT, column="Headroom", unit="percentunit"),
            Query("sum by (instance) (instance_status:ullage_models:sum"
                  f'{{{HERE}, status=~"{THERE}"}})', column="Models"),
            Query(f"sum by (instance) (instance:ullage_requests_in_flight:sum{{{HERE}}})",
                  column="In flight"),
            Query(f"sum by (instance) (instance:ullage_requests_held:sum{{{HERE}}})",
                  column="Waiting", steps=((1, YELLOW),)),
            Query(f"sum by (instance) (instance:ullage_requests:rate5m{{{HERE}}})",
                  column="Requests", unit="reqps"),
            Query(FAILED, column="Failed", unit="percentunit", steps=((0.01, YELLOW),)),
            Query(f"sum by (instance) (instance:ullage_findings:sum{{{HERE}}})",
                  column="Findings", steps=((1, YELLOW),)),
        ),
        type="table", width=24, height=8, link="host",
        labels=(("instance", "Host"), ("version", "Version")),
    ),
)  # fmt: skip

PRESENCE = (
    Panel(
        "Who sees how many",
        "Hosts that are here, by who says so. Lines that part: a partition, or an agent that is "
        "alone.",
        (Query(f'{SEEN}, presence="here"}}', "{{instance}}"),),
        width=8, least=0,
    ),
    Panel(
        "Age of each host's word",
        "As the host that heard it last knows it. A host speaks once a second; from 2.5 s on it "
        "is silent, from 4.5 s on lost, unless configured otherwise.",
        (Query(f"min by (host) (ullage_fleet_word_age_seconds{{{HERE}}})", "{{host}}"),),
        "s", width=8, least=0, steps=((8, YELLOW), (30, RED)),
    ),
    Panel(
        "Agents",
        "Whether each host's agent answers its daemon.",
        (Query(f"ullage_fleet_agent_up{{{HERE}}}", "{{instance}}"),),
        type="state-timeline", width=8, words=UP,
    ),
)  # fmt: skip

LEDGER = (
    Panel(
        "Headroom by host",
        "By each host's own word, as it was heard last. What is promised is not taken off.",
        (Query(f"max by (host) (ullage_fleet_headroom_bytes{{{HERE}}})", "{{host}}"),),
        "bytes", width=8, lowest=RED, steps=((0, GREEN),),
    ),
    Panel(
        "Promised by host",
        "What the ledger keeps for loads to come. A promise ends by itself: bytes that stay here "
        "for minutes are a fault.",
        (Query(f"max by (host) (ullage_fleet_promised_bytes{{{HERE}}})", "{{host}}"),),
        "bytes", width=8, stacked=True, least=0,
    ),
    Panel(
        "Promises",
        "How many loads the ledger keeps bytes for, as the best informed host knows it.",
        (Query(f"max(ullage_fleet_promises{{{HERE}}})", "promises"),),
        width=8, least=0,
    ),
)  # fmt: skip

PLACED = (
    Panel(
        "Placements",
        "Times that an agent was asked for a place, by what came of it: the model was ready or "
        "coming, a load was begun, or it was queued; alone: without the fleet. Each bar is a "
        "minute.",
        (Query(increase("ullage_fleet_placements_total", "result"), "{{result}}"),),
        width=8, stacked=True, bars=True, least=0,
    ),
    Panel(
        "Placements in all",
        "The same in the time that is shown.",
        (Query(over_all("ullage_fleet_placements_total", "result"), "{{result}}"),),
        type="bargauge", width=8, least=0,
    ),
    Panel(
        "Requests by host",
        "Requests a second that each host's gateway answered, those from other hosts too.",
        (Query(f"instance:ullage_requests:rate5m{{{HERE}}}", "{{instance}}"),),
        "reqps", width=8, stacked=True, least=0,
    ),
    Panel(
        "Loads and evictions by host",
        "A second, on average over five minutes. A model that is loaded here and evicted there, "
        "again and again, shows as both.",
        (
            Query("sum by (instance) (instance_result:ullage_model_loads:rate5m"
                  f'{{{HERE}, result="done"}})', "loads {{instance}}", colour=BLUE),
            Query(f"instance:ullage_evictions:rate5m{{{HERE}}}", "evictions {{instance}}",
                  colour=ORANGE),
        ),
        "ops", least=0,
    ),
    Panel(
        "Requests that wait",
        "Held until their model is there, by host; dashed, those that engines work on.",
        (
            Query(f"instance:ullage_requests_held:sum{{{HERE}}}", "waiting {{instance}}"),
            Query(f"instance:ullage_requests_in_flight:sum{{{HERE}}}", "in flight {{instance}}",
                  True, GREY),
        ),
        least=0,
    ),
)  # fmt: skip

BOARD = Board(
    "fleet",
    "Ullage: fleet",
    "More than one host: who is there, what each has left, what is promised, what is placed where.",
    (JOB, INSTANCE),
    MARKS,
    (
        Row("Now", NOW),
        Row("Hosts", HOSTS),
        Row("Who is there", PRESENCE),
        Row("Headroom, and what is promised of it", LEDGER),
        Row("What is placed", PLACED),
    ),
)
