"""One host: who has the memory of each pool, pool by pool, and how the daemon itself does."""

from .panels import (
    GREEN,
    GREY,
    HERE,
    JOB,
    MARKS,
    ONE_INSTANCE,
    ORANGE,
    POOL,
    POOLS,
    PRESSURE,
    RED,
    YELLOW,
    Board,
    Panel,
    Query,
    Row,
    at_most,
    increase,
)

OWNERS = (
    Panel(
        "Who has $pool",
        "Used bytes by engine, free ones on top of them; _external are processes that no engine "
        "owns, _unknown is what nobody claims. Dashed: all that programs can be given, the line "
        "beyond which models are unloaded, and what these may hold where there is a budget.",
        (
            Query(f"sum by (owner) (ullage_memory_attributed_bytes{{{POOL}}})", "{{owner}}"),
            Query(f"sum by (pool) (ullage_memory_free_bytes{{{POOL}}})", "free", colour=GREY),
            Query(f"sum by (pool) (ullage_memory_capacity_bytes{{{POOL}}})", "capacity", True),
            Query(f"sum by (pool) (ullage_memory_capacity_bytes{{{POOL}}}) - "
                  f"sum by (pool) (ullage_memory_reserve_bytes{{{POOL}}})",
                  "where the reserve begins", True, RED),
            Query(f"sum by (pool) (ullage_memory_budget_bytes{{{POOL}}})",
                  "budget of models", True, ORANGE),
        ),
        "bytes", height=10, stacked=True, each_pool=True, least=0,
    ),
)  # fmt: skip

HEADROOM = (
    Panel(
        "Headroom of $pool",
        "What may still be given to models, against what is never handed out. Headroom below 0 "
        "is a shortfall: after its grace period models are unloaded until it is made good. Hard "
        "headroom counts mapped weights as free, which would be read back at every token.",
        (
            Query(f"ullage_memory_headroom_bytes{{{POOL}}}", "headroom"),
            Query(f"ullage_memory_hard_headroom_bytes{{{POOL}}}", "hard headroom"),
            Query(f"ullage_memory_free_bytes{{{POOL}}}", "free"),
            Query(f"ullage_memory_reserve_bytes{{{POOL}}}", "reserve", True),
            Query(f"ullage_memory_promised_bytes{{{POOL}}}", "promised to loads"),
            Query(f"ullage_job_reserved_bytes{{{POOL}}}", "kept for jobs"),
        ),
        "bytes", each_pool=True, lowest=RED, steps=((0, GREEN),),
    ),
    Panel(
        "Pressure",
        "Which pools were below their reserve or beyond their budget, and when. A gap: the pool "
        "could not be read, or nobody scraped.",
        (Query(f"ullage_pressure{{{POOL}}}", "{{pool}}"),),
        type="state-timeline", width=24, height=6, words=PRESSURE,
    ),
)  # fmt: skip

HELD = (
    Panel(
        "What models hold",
        "Bytes of each model, mapped files included: one that two models have mapped counts for "
        "both.",
        (Query(f"sum by (engine, model) (ullage_model_memory_bytes{{{POOL}}})",
               "{{engine}}/{{model}}"),),
        "bytes", width=8, stacked=True, least=0,
    ),
    Panel(
        "Models now",
        "Every model that holds memory, pool by pool, the largest first.",
        (Query(f"sort_desc(sum by (engine, model, pool) (ullage_model_memory_bytes{{{POOL}}}))",
               column="Bytes", unit="bytes"),),
        "bytes", "table", 8,
        labels=(("engine", "Engine"), ("model", "Model"), ("pool", "Pool")),
    ),
    Panel(
        "Others",
        "Bytes that are no model's: of processes that no engine owns, and those of which nobody "
        "knows whose they are. Nothing of this can be unloaded.",
        (
            Query("sum by (pool) (ullage_memory_attributed_bytes"
                  f'{{{POOL}, owner="_external"}})', "other processes {{pool}}"),
            Query(f"sum by (pool) (ullage_memory_unattributed_bytes{{{POOL}}})",
                  "nobody's {{pool}}", True),
        ),
        "bytes", width=8, least=0,
    ),
)  # fmt: skip

RAM = (
    Panel(
        "RAM besides its pool",
        "Of the whole machine: what the kernel, shared memory, huge pages and compressed memory "
        "take, and used swap. Absent is what this system does not tell.",
        (
            Query(f"ullage_host_kernel_memory_bytes{{{HERE}}}", "kernel"),
            Query(f"ullage_host_shared_memory_bytes{{{HERE}}}", "shared"),
            Query(f"ullage_host_huge_pages_bytes{{{HERE}}}", "huge pages"),
            Query(f"ullage_host_compressed_memory_bytes{{{HERE}}}", "compressed"),
            Query(f"ullage_host_swap_bytes{{{HERE}}} - ullage_host_swap_free_bytes{{{HERE}}}",
                  "swap used"),
            Query(f"ullage_host_physical_memory_bytes{{{HERE}}}", "RAM", True),
            Query(f"ullage_host_memory_limit_bytes{{{HERE}}}", "control group's limit", True),
        ),
        "bytes", width=8, least=0,
    ),
    Panel(
        "Standing still for memory",
        "Share of the time in which some task waited for memory, and in which all did.",
        (Query(f"rate(ullage_host_memory_stalled_seconds_total{{{HERE}}}[$__rate_interval])",
               "{{kind}}"),),
        "percentunit", width=8, least=0,
    ),
    Panel(
        "Pages that come back",
        "Pages a second that were moved to and from swap, and file pages that were dropped and "
        "read again: a loaded model that is read again at every token shows here.",
        (
            Query(f"rate(ullage_host_swapped_pages_total{{{HERE}}}[$__rate_interval])",
                  "swapped"),
            Query(f"rate(ullage_host_refaulted_pages_total{{{HERE}}}[$__rate_interval])",
                  "read again"),
        ),
        "ops", width=8, least=0,
    ),
    Panel(
        "Killed, and close to it",
        "Processes that the kernel killed for want of memory, and its alarms before; each bar is "
        "a minute.",
        (
            Query(increase("ullage_host_oom_kills_total", "instance"), "killed"),
            Query(increase("ullage_host_memory_alarms_total", "instance"), "alarms"),
        ),
        width=8, bars=True, least=0,
    ),
    Panel(
        "What is wrong",
        "Findings by kind and pool; `ullage status` says more.",
        (Query(f"sum by (kind, pool) (ullage_findings{{{HERE}}})", "{{kind}} {{pool}}"),),
        width=16, stacked=True, least=0,
    ),
)  # fmt: skip

DAEMON = (
    Panel(
        "Age of the numbers",
        "How long ago each source was last read, and the latest snapshot taken.",
        (
            Query(f"time() - ullage_sample_timestamp_seconds{{{HERE}}}", "snapshot"),
            Query(f"ullage_reading_age_seconds{{{HERE}}}", "{{collector}} {{tier}}"),
        ),
        "s", width=8, least=0,
    ),
    Panel(
        "How long sources take",
        "To be read, by source, and engines to answer. Dashed: until the next snapshot.",
        (
            Query(f"ullage_collector_duration_seconds{{{HERE}}}", "{{collector}}"),
            Query(f"ullage_engine_probe_duration_seconds{{{HERE}}}", "{{engine}}"),
            Query(f"ullage_sample_interval_seconds{{{HERE}}}", "interval", True),
        ),
        "s", width=8, least=0,
    ),
    Panel(
        "Sources that hang",
        "1 while the last call into a source has not returned in time.",
        (Query(f"ullage_collector_stalled{{{HERE}}}", "{{collector}}"),),
        type="state-timeline", width=8, words=((0, "answers", GREEN), (1, "hangs", RED)),
    ),
    Panel(
        "Behind its own time",
        "How late the daemon's last tick was served, and 19 of 20 were at most.",
        (
            Query(f"ullage_event_loop_lag_seconds{{{HERE}}}", "last tick"),
            Query(at_most(0.95, "ullage_tick_delay_seconds", HERE, "le"), "19 of 20", True),
        ),
        "s", width=6, least=0, steps=((1, YELLOW),),
    ),
    Panel(
        "Journal",
        "Entries that are not on disk yet. While they wait, a crash would lose them.",
        (Query(f"ullage_journal_lag{{{HERE}}}", "waiting"),),
        width=6, least=0,
    ),
    Panel(
        "Configuration and journal",
        "Whether the configuration file, as it was read last, is in force, and whether the "
        "journal is on disk.",
        (
            Query(f"ullage_config_last_reload_successful{{{HERE}}}", "configuration in force"),
            Query(f"ullage_journal_persistent{{{HERE}}}", "journal on disk"),
        ),
        type="state-timeline", width=6, words=((0, "no", YELLOW), (1, "yes", GREEN)),
    ),
    Panel(
        "What failed",
        "Readings of sources and engines, snapshots and writes that failed, steps of the wall "
        "clock, and requests to Ullage itself that were refused; each bar is a minute.",
        (
            Query(increase("ullage_collector_errors_total", "collector"), "{{collector}}"),
            Query(increase("ullage_engine_probe_failures_total", "engine"), "{{engine}}"),
            Query(increase("ullage_sample_failures_total", "instance"), "snapshots"),
            Query(increase("ullage_journal_write_failures_total", "instance"), "journal"),
            Query(increase("ullage_journal_writes_dropped_total", "instance"), "entries lost"),
            Query(increase("ullage_clock_steps_total", "instance"), "clock steps"),
            Query(increase("ullage_api_refusals_total", "why"), "refused: {{why}}"),
        ),
        width=6, stacked=True, bars=True, least=0,
    ),
)  # fmt: skip

BOARD = Board(
    "host",
    "Ullage: host",
    "One host: who has the memory of each pool, what is left, and how the daemon does.",
    (JOB, ONE_INSTANCE, POOLS),
    MARKS,
    (
        Row("Memory by owner", OWNERS),
        Row("Headroom", HEADROOM),
        Row("Models and others", HELD),
        Row("The machine's RAM", RAM),
        Row("The daemon", DAEMON),
    ),
)
