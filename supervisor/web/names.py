"""The names of the metrics and what they mean, in one table."""

from __future__ import annotations

from typing import NamedTuple

PREFIX = "ullage_"


class Name(NamedTuple):
    name: str  # without its prefix
    type: str  # as Prometheus calls it; "info" is a gauge of 1 that carries labels
    labels: tuple[str, ...]
    help: str


_POOL = ("pool", "kind")
_MODEL = ("engine", "model")
_DEVICE = ("pool", "uuid")

NAMES: tuple[Name, ...] = (
    Name("build_info", "info", ("version", "python"), "The version that runs, and on what."),
    # memory
    Name("memory_capacity_bytes", "gauge", _POOL,
         "What programs can be given of a pool; kind is vram, unified or ram."),
    Name("memory_free_bytes", "gauge", _POOL,
         "What is free of a pool without stealing pages from a loaded model."),
    Name("memory_reserved_bytes", "gauge", _POOL,
         "What the driver and its firmware keep for themselves, on top of the capacity."),
    Name("memory_headroom_bytes", "gauge", _POOL,
         "Free bytes less the reserve, or what the budget leaves, less what is promised;"
         " below 0 it is a shortfall."),
    Name("memory_unattributed_bytes", "gauge", _POOL,
         "Used bytes of which nobody knows whose they are."),
    Name("memory_attributed_bytes", "gauge", ("pool", "owner"),
         "Used bytes by owner: an engine, _external (other processes), _accelerators (for no"
         " process that is listed), _unseen (processes that cannot be seen), _shared, _kernel,"
         " _huge_pages, _compressed, or _unknown."),
    Name("memory_hard_headroom_bytes", "gauge", _POOL,
         "The headroom if the kernel dropped the mapped weights of loaded models, which they"
         " would read back at every token."),
    Name("memory_mapped_bytes", "gauge", _POOL,
         "File pages of loaded models: the kernel calls them available, the free bytes do not."),
    Name("memory_device_limit_bytes", "gauge", _POOL,
         "What the accelerators may hold of a unified pool, all together."),
    Name("memory_device_used_bytes", "gauge", _POOL,
         "What the accelerators hold of a unified pool."),
    Name("memory_reserve_bytes", "gauge", ("pool",), "Bytes that are never handed out."),
    Name("memory_budget_bytes", "gauge", ("pool",),
         "What models may hold of a pool, all together; absent where there is no budget."),
    Name("memory_promised_bytes", "gauge", ("pool",),
         "Bytes granted to loads that have not shown up in the measurements yet."),
    Name("pressure", "gauge", ("pool",),
         "0 none, 1 below the soft line or beyond the budget, 2 below the hard line."),
    # devices
    Name("device_info", "info",
         (*_DEVICE, "name", "pci", "driver", "vendor", "device_kind", "parent"),
         "An accelerator and the pool that it draws from; an instance of a split GPU has a"
         " parent."),
    Name("device_asleep", "gauge", _DEVICE, "1 while an accelerator is powered down."),
    Name("device_utilization_ratio", "gauge", _DEVICE,
         "Share of the last moments in which a kernel ran, 0 to 1."),
    Name("device_memory_utilization_ratio", "gauge", _DEVICE,
         "Share of the last moments in which memory was read or written, 0 to 1."),
    Name("device_temperature_celsius", "gauge", _DEVICE, "Temperature of an accelerator."),
    Name("device_memory_temperature_celsius", "gauge", _DEVICE,
         "Temperature of an accelerator's memory."),
    Name("device_power_watts", "gauge", _DEVICE, "Power that an accelerator draws."),
    Name("device_power_limit_watts", "gauge", _DEVICE, "Power that an accelerator may draw."),
    Name("device_energy_joules_total", "counter", _DEVICE,
         "Energy that an accelerator has used since its driver was loaded."),
    Name("device_clock_hertz", "gauge", _DEVICE, "Clock of the compute units."),
    Name("device_memory_clock_hertz", "gauge", _DEVICE, "Clock of the memory."),
    Name("device_throttled", "gauge", (*_DEVICE, "reason"),
         "1 for each reason why an accelerator is slower than it could be; 0 without a reason."),
    Name("device_ecc_errors_total", "counter", (*_DEVICE, "error"),
         "Memory errors since the driver was loaded; error is corrected or uncorrected."),
    Name("device_errors_total", "counter", (*_DEVICE, "kind", "code"),
         "What the driver has reported since the daemon's start, as kind xid and its code."),
    Name("device_recovery", "gauge", (*_DEVICE, "action"),
         "1 for what the driver says must be done to an accelerator: none, reset, reboot ..."),
    Name("device_pcie_generation", "gauge", _DEVICE, "Generation of the link as it is now."),
    Name("device_pcie_width_lanes", "gauge", _DEVICE, "Lanes of the link as it is now."),
    # the host's memory, besides its pool
    Name("host_physical_memory_bytes", "gauge", (), "RAM of the machine, whatever the limit."),
    Name("host_memory_limit_bytes", "gauge", (),
         "The smallest limit of the control groups above this process."),
    Name("host_swap_bytes", "gauge", (), "Swap space; never headroom."),
    Name("host_swap_free_bytes", "gauge", (), "Swap space that is not used."),
    Name("host_shared_memory_bytes", "gauge", (), "Shared memory and files in memory."),
    Name("host_kernel_memory_bytes", "gauge", (), "What the kernel holds and cannot drop."),
    Name("host_huge_pages_bytes", "gauge", (), "RAM set aside as huge pages, in use or not."),
    Name("host_compressed_memory_bytes", "gauge", (),
         "RAM that holds compressed memory: zram, or the compressor of macOS."),
    Name("host_swapped_pages_total", "counter", (), "Pages moved to and from swap since boot."),
    Name("host_refaulted_pages_total", "counter", (),
         "File pages that were dropped and had to be read again, since boot."),
    Name("host_oom_kills_total", "counter", (),
         "Processes that the kernel killed for want of memory, since boot."),
    Name("host_memory_stalled_seconds_total", "counter", ("kind",),
         "How long work stood still for want of memory: some task waited, or full: all did."),
    Name("host_memory_pressure_level", "gauge", ("state",),
         "1 for the kernel's own word on memory pressure, where it has one."),
    Name("host_memory_alarms_total", "counter", (),
         "Times that the kernel said that work stands still for want of memory."),
    # engines and their models
    Name("engine_up", "gauge", ("engine",), "1 if the engine answered when last asked."),
    Name("engine_drained", "gauge", ("engine",), "1 if the engine takes no requests and no loads."),
    Name("engine_probe_duration_seconds", "gauge", ("engine",),
         "How long the engine took to answer when last asked."),
    Name("engine_probe_failures_total", "counter", ("engine",),
         "Times that the engine was asked and did not answer as it should."),
    Name("engine_last_success_timestamp_seconds", "gauge", ("engine",),
         "When the engine last answered: what is said of its models is as of."),
    Name("model_resident", "gauge", (*_MODEL, "state"),
         "1 for a model that holds memory, by what it does; how many they are for _other."),
    Name("model_memory_bytes", "gauge", (*_MODEL, "pool"),
         "What a model holds of a pool, its mapped file included."),
    Name("model_estimate_bytes", "gauge", (*_MODEL, "pool"),
         "What a model was counted with of a pool when it came: by what was learned of it, said, or"
         " worked out. Beside model_memory_bytes, what it does hold."),
    Name("model_desired", "gauge", (*_MODEL, "by"),
         "1 while something wants a model there: a pin, a lease, a request, another that it is"
         " always together with, or a load under way; how many they are for _other."),
    Name("model_pinned", "gauge", _MODEL, "1 if the model is never evicted."),
    Name("models", "gauge", ("engine", "status"),
         "Models by status: absent, local (on disk), loading, loaded, sleeping, leaving, unknown."),
    Name("model_leases", "gauge", _MODEL, "Leases that clients hold on a model."),
    Name("model_in_flight", "gauge", _MODEL,
         "Requests that the model is serving; absent where nobody can tell."),
    Name("model_last_used_timestamp_seconds", "gauge", _MODEL,
         "When the model was last seen at work."),
    # what was decided, and what became of it
    Name("decisions_total", "counter", ("trigger",), "Plans that were made and written down."),
    Name("evictions_total", "counter", ("engine", "trigger", "result"),
         "Unloads that were decided, by what became of them."),
    Name("eviction_reasons_total", "counter", ("engine", "reason"),
         "Unloads that were carried out, by why the model was chosen."),
    Name("departures_total", "counter", ("engine",),
         "Models that left by themselves: by their engine's own timer, a client, or an accident."),
    Name("eviction_verdicts_total", "counter", ("engine", "verdict"),
         "Unloads that were carried out, by what came back of what was promised."),
    Name("eviction_promised_bytes_total", "counter", ("engine", "trigger"),
         "Bytes that unloads were expected to give back."),
    Name("eviction_reclaimed_bytes_total", "counter", ("engine", "trigger"),
         "Bytes that unloads did give back."),
    Name("eviction_duration_seconds", "histogram", ("engine",),
         "From the call of an unload until the memory is back, or given up on."),
    Name("reloads_soon_total", "counter", ("engine",),
         "Models that were loaded again, by whomever, less than 10 minutes after they were made to"
         " go, but for those that somebody asked to go."),
    Name("model_loads_total", "counter", ("engine", "result"),
         "Loads that were decided, by what became of them."),
    Name("model_cancels_total", "counter", ("engine", "result"),
         "How often requests of stuck models were to be ended, by what became of it."),
    Name("model_load_duration_seconds", "histogram", ("engine",),
         "From the call of a load until the model is there, or given up on."),
    Name("load_estimate_error_ratio", "histogram", ("engine",),
         "How far off a load was counted, as a share of what it took."),
    Name("watchdog_models", "gauge", ("watchdog", "state"),
         "Models by what a watchdog (idle, busy) does about them: watching, due (it has found"
         " them), acting."),
    Name("findings", "gauge", ("kind", "engine", "pool"),
         "What is wrong now, by kind, and by the engine or the pool that it is about; both are"
         " empty where it is about none of them, or about more."),
    Name("paused", "gauge", (), "1 in a pause: nothing is done but what is asked for."),
    Name("pins", "gauge", (), "Pins that were set while running."),
    Name("reservations", "gauge", (), "Loads that were granted and are under way."),
    Name("leases", "gauge", (), "Leases that clients hold on models."),
    Name("job_reservations", "gauge", (), "Reservations of foreign jobs."),
    Name("job_reserved_bytes", "gauge", ("pool",),
         "What is kept free for foreign jobs, less what they already use."),
    # alerts of others
    Name("alerts_total", "counter", ("outcome",), "Alerts that were received, by outcome."),
    Name("alert_actions_total", "counter", ("action", "outcome"),
         "Alerts that chose a configured action, by its kind and by outcome."),
    Name("alert_holds", "gauge", ("action",),
         "What holds now because an alert fires: pause, pin or reserve."),
    Name("alert_last_timestamp_seconds", "gauge", (), "When an alert was last received."),
    # requests that pass through the gateway
    Name("gateway_up", "gauge", (), "1 if the gateway listens."),
    Name("requests_total", "counter", (*_MODEL, "api", "code"),
         "Requests that have ended, by the status they were answered with. model is _other for all"
         " beyond a limit, and with the engine _none for what reached no model; the engine is"
         " _elsewhere for what other hosts answered."),
    Name("requests_in_flight", "gauge", _MODEL, "Requests that an engine works on."),
    Name("requests_held", "gauge", _MODEL, "Requests that wait until their model is there."),
    Name("requests_held_longest_seconds", "gauge", _MODEL,
         "How long the first of the requests that wait has waited."),
    Name("request_first_byte_seconds", "histogram", ("engine",),
         "From a whole request until the first byte of its answer, waiting included."),
    Name("time_to_first_token_seconds", "histogram", ("engine",),
         "From a whole request until the first piece of a streamed answer that says something,"
         " waiting included."),
    Name("request_duration_seconds", "histogram", ("engine",),
         "From a whole request until the last byte of its answer."),
    Name("request_hold_seconds", "histogram", ("engine",),
         "How long requests were held: until they were let through, refused, or left."),
    Name("request_refusals_total", "counter", ("why",), "Requests that were refused, by why."),
    Name("request_retries_total", "counter", ("engine",),
         "Requests that were sent once more, for their engine had not begun to answer."),
    Name("request_clients_gone_total", "counter", (),
         "Requests whose client left before the answer was whole."),
    Name("response_bytes_total", "counter", ("engine",),
         "Bytes of answers' bodies that were passed on, as engines framed them."),
    Name("caller_requests_total", "counter", ("token",), "Requests by the token that was sent."),
    Name("caller_requests_in_flight", "gauge", ("token",),
         "Requests under way by their token, held ones too."),
    Name("gateway_loads_total", "counter", ("engine", "result"),
         "Loads that were made for requests that wait, by what became of them."),
    Name("gateway_drains_total", "counter", ("result",),
         "Models at work that got no new requests so that they could leave: done, or late."),
    Name("gateway_placements_total", "counter", ("where",),
         "Requests that the fleet's agent was asked about, by its answer: here, elsewhere, queued"
         " (no host has room), nobody (no host has it), alone (it gave none). In fleet mode only,"
         " as the next three."),
    Name("gateway_placement_seconds", "histogram", (),
         "How long the agent took to say where a request goes: what that adds to it."),
    Name("gateway_elsewhere_failures_total", "counter", ("why",),
         "Requests that another host was to serve and did not: lost before its answer began, or"
         " refused."),
    Name("gateway_elsewhere_in_flight", "gauge", (), "Requests that other hosts work on for us."),
    Name("gateway_connections", "gauge", ("side",),
         "Open connections: of clients, to engines, and idle to engines."),
    Name("traces_sent_total", "counter", (), "Traces of requests that their collector has taken."),
    Name("traces_lost_total", "counter", (),
         "Traces that came to nothing: their collector did not take them, or they were too many."),
    # the fleet, as the agent of this host knows it; absent where this host is in none
    Name("fleet_agent_up", "gauge", (), "1 if the fleet's agent on this host answers."),
    Name("fleet_connected", "gauge", (),
         "1 while that agent is connected to what holds the fleet together."),
    Name("fleet_troubles", "gauge", (), "What the agent says is wrong; `ullage fleet status`."),
    Name("fleet_hosts", "gauge", ("presence",),
         "Hosts as this one knows them: here, silent, lost or drained."),
    Name("fleet_word_age_seconds", "gauge", ("host",),
         "Since a host was last heard; of more than 64 hosts the others are one, _other, with the"
         " oldest."),
    Name("fleet_headroom_bytes", "gauge", ("host",),
         "Headroom of a host's accelerators by its own word; of RAM where it has none."),
    Name("fleet_promises", "gauge", (), "Loads that the fleet's ledger keeps bytes for."),
    Name("fleet_promised_bytes", "gauge", ("host",),
         "What the ledger keeps of a host for loads to come; its headroom is as it was told."),
    Name("fleet_placements_total", "counter", ("result",),
         "Times that this host's agent was asked for a place, by what came of it: ready, coming,"
         " load, alone (without a choice), queued or unknown."),
    # the daemon itself
    Name("samples_total", "counter", (), "Snapshots taken."),
    Name("sample_failures_total", "counter", (), "Snapshots that could not be taken."),
    Name("sample_timestamp_seconds", "gauge", (),
         "When the memory of the latest snapshot was read: what everything above is as of."),
    Name("collector_last_success_timestamp_seconds", "gauge", ("collector",),
         "When the source was last read."),
    Name("collector_duration_seconds", "gauge", ("collector",),
         "How long the source took when last asked."),
    Name("reading_age_seconds", "gauge", ("collector", "tier"),
         "How old the numbers of a source are; tier is memory, processes or health."),
    Name("sample_interval_seconds", "gauge", (), "Time until the next snapshot, as it is now."),
    Name("collector_errors_total", "counter", ("collector",),
         "Times that the source could not be read."),
    Name("collector_stalled", "gauge", ("collector",),
         "1 if the last call into the source did not return in time."),
    Name("config_last_reload_successful", "gauge", (),
         "1 unless the configuration file, as it was read last, is refused."),
    Name("config_last_reload_success_timestamp_seconds", "gauge", (),
         "When the configuration in force was read, in Unix time."),
    Name("api_refusals_total", "counter", ("why",),
         "Requests to Ullage itself that were refused: no token, an unknown or expired one, one"
         " without the scope, too many wrong ones, another machine without any."),
    Name("tls_certificate_expiry_timestamp_seconds", "gauge", ("listener",),
         "When the certificate ends that a listener, api or gateway, has in use, in Unix time."),
    Name("event_readers", "gauge", (), "Clients that read the stream of events."),
    Name("journal_persistent", "gauge", (),
         "1 if the journal has a file, 0 if it is kept in memory alone."),
    Name("journal_lag", "gauge", (), "Entries of the journal that are not on disk yet."),
    Name("journal_write_failures_total", "counter", (),
         "Times that the journal could not be written."),
    Name("journal_writes_dropped_total", "counter", (),
         "Entries of the journal that were given up."),
    Name("clock_steps_total", "counter", (), "Steps of the wall clock that were noticed."),
    Name("event_loop_lag_seconds", "gauge", (), "How late the last tick was served."),
    Name("tick_delay_seconds", "histogram", (), "How late each tick was served."),
)  # fmt: skip


def markdown_table() -> str:
    """NAMES as a table for the documentation."""
    lines = ["| name | type | labels | meaning |", "|---|---|---|---|"]
    for row in NAMES:
        labels = ", ".join(f"`{label}`" for label in row.labels)
        lines.append(f"| `{PREFIX}{row.name}` | {row.type} | {labels} | {row.help} |")
    return "\n".join(lines) + "\n"
