"""What keeps each alert silent where it must be: taken away, its case has to fail.

By the case: (rule, what of its expression, what in its place); or (rule, "for", how long instead).
"""

NONE = "0s"
ON_POOL = " and on (job, instance, pool) ullage_pressure >= "
SHORT = "engine:ullage_eviction_verdicts_short_per_verdicts:ratio_increase30m"
FOREIGN = "pool:ullage_memory_foreign_bytes:sum"
HELD = "engine:ullage_request_hold_seconds:p95_rate10m"
FAILURES = "engine:ullage_request_failures_per_requests:ratio_rate10m"
STEADY = "\n  and predict_linear(ullage_memory_free_bytes[5m], 3600) < 0"
KILLS = "ullage_host_oom_kills_total"
ECC = 'ullage_device_ecc_errors_total{error="uncorrected"}'

Fault = tuple[str, str, str]

FAULTS: dict[str, list[Fault]] = {
    # the daemon
    "UllageDown: not while it restarts": [("UllageDown", "for", NONE)],
    "UllageAbsent: not while one of two is there": [("UllageAbsent", ".*ullage.*", "ullage")],
    "UllageSamplingStale: not by a clock that differs from Prometheus's": [
        ("UllageSamplingStale", "increase(ullage_samples_total[3m]) == 0",
         "time() - ullage_sample_timestamp_seconds > 60"),
    ],
    "UllageSamplingStale: not where it is meant to look that seldom": [
        ("UllageSamplingStale",
         "\n  and on (job, instance) ullage_sample_interval_seconds < 60", ""),
    ],
    "UllageSamplingStale: not where there never was a snapshot": [
        ("UllageSamplingStale", "\n  and on (job, instance) ullage_sample_timestamp_seconds", ""),
    ],
    "UllageNeverSampled: not right after the start": [("UllageNeverSampled", "for", NONE)],
    "UllagePoolUnreadable: not of other findings, nor for a moment": [
        ("UllagePoolUnreadable", "for", NONE),
        ("UllagePoolUnreadable", '{kind="blind"}', ""),
    ],
    "UllageCollectorFailing: not for one failure": [("UllageCollectorFailing", "for", "4m")],
    "UllageLoopLag: not for one in thirty, nor for a bad minute": [
        ("UllageLoopLag", "0.9", "0.99"),
        ("UllageLoopLag", "for", NONE),
    ],
    "UllageJournalLag: not for a burst that is written": [
        ("UllageJournalLag", "min_over_time", "avg_over_time"),
    ],
    "UllageJournalFailing: not of failures that were long ago": [
        ("UllageJournalFailing", "increase(ullage_journal_write_failures_total[15m])",
         "ullage_journal_write_failures_total"),
    ],
    "UllageCertificateEnds: not while it is good for weeks, nor just before it is renewed": [
        ("UllageCertificateEnds", "7 * 86400", "21 * 86400"),
        ("UllageCertificateEnds", "for", NONE),
    ],
    "UllageConfigRefused: not while somebody is still editing it": [
        ("UllageConfigRefused", "for", "1m"),
    ],
    # memory
    "UllageHeadroomLow: not while it mends itself": [("UllageHeadroomLow", "for", NONE)],
    "UllageHeadroomLow: not where only the reserve is met": [
        ("UllageHeadroomLow", f"{ON_POOL}1", ""),
    ],
    "UllageHeadroomGone: not for a moment": [("UllageHeadroomGone", "for", NONE)],
    "UllageHeadroomGone: not where the soft line alone is met": [
        ("UllageHeadroomGone", f"{ON_POOL}2", ""),
    ],
    "UllageOutOfMemoryForecast: not for a model that loads": [
        ("UllageOutOfMemoryForecast", "for", NONE),
        ("UllageOutOfMemoryForecast", STEADY, ""),
    ],
    "UllageOutOfMemoryForecast: not for two loads, one soon after the other": [
        ("UllageOutOfMemoryForecast", "for", "6m"),
        ("UllageOutOfMemoryForecast", STEADY, ""),
    ],
    "UllageOutOfMemoryForecast: not when the fall has ended": [
        ("UllageOutOfMemoryForecast", STEADY, ""),
    ],
    "UllageForeignPressure: not where there is room, nor where it is models that fill it": [
        ("UllageForeignPressure", f"\n {ON_POOL}1", ""),
        ("UllageForeignPressure", "0.25", "0.15"),
        (FOREIGN, "_external|_unseen|_unknown", "_.*"),
    ],
    "UllageMemoryStalled: not where only some tasks wait": [
        ("UllageMemoryStalled", '{kind="full"}', ""),
    ],
    "UllageMemoryStalled: not for a minute of it": [("UllageMemoryStalled", "for", NONE)],
    "UllageOutOfMemoryKill: not of those since boot": [
        ("UllageOutOfMemoryKill", f"increase({KILLS}[10m])", KILLS),
    ],
    # engines and models
    "UllageEvictionIneffective: not for one of three, nor for what could not be measured": [
        ("UllageEvictionIneffective", "0.5", "0.3"),
        (SHORT, "nothing|partly", "nothing|partly|blind"),
    ],
    "UllageEvictionFailing: not when they are done, or no longer needed": [
        ("UllageEvictionFailing", 'result="failed"', 'result="done"'),
        ("UllageEvictionFailing", 'result="failed"', 'result="skipped"'),
        ("UllageEvictionFailing", 'increase(ullage_evictions_total{result="failed"}[15m])',
         'ullage_evictions_total{result="failed"}'),
    ],
    "UllageThrash: not for one model that came back": [("UllageThrash", ">= 3", ">= 1")],
    "UllageLoadFailing: not for one, nor for those that work": [
        ("UllageLoadFailing", "> 1.5", "> 1"),
        ("UllageLoadFailing", 'result="failed"', 'result="done"'),
    ],
    "UllageEngineDown: not while it is restarted": [("UllageEngineDown", "for", "1m")],
    "UllageBackendStuck: not while it answers": [
        ("UllageBackendStuck",
         "\n  and on (job, instance, engine) increase(ullage_response_bytes_total[15m]) == 0", ""),
    ],
    "UllageBackendStuck: not while nobody asks it, or only now and then": [
        ("UllageBackendStuck", ">= 30", ">= 15"),
        ("UllageBackendStuck", "in_flight) > 0)[", "in_flight))["),
    ],
    "UllageModelStuck: not while its steps help, nor for idle ones": [
        ("UllageModelStuck", "for", NONE),
        ("UllageModelStuck", '{kind="stuck"}', ""),
    ],
    # the gateway
    "UllageGatewayDown: not while it starts, nor where there is none": [
        ("UllageGatewayDown", "for", NONE),
    ],
    "UllageQueueWait: not for one in a hundred, nor for one load": [
        (HELD, "0.95", "0.995"),
        ("UllageQueueWait", "> 120", "> 60"),
    ],
    "UllageRequestsFailing: not for what clients got wrong, nor for a few": [
        (FAILURES, "5..", "[45].."),
        ("UllageRequestsFailing", "> 20", "> 1"),
    ],
    # devices
    "UllageXid: not of what was long ago, nor of what calls for nothing": [
        ("UllageXid", "offset 10m", "offset 1h"),
        ("UllageXid", "|43|", "|"),
        ("UllageXid", 'kind="xid", ', ""),
    ],
    "UllageDeviceRecovery: not where it asks for nothing": [
        ("UllageDeviceRecovery", '{action!="none"}', ""),
    ],
    "UllageEccErrors: not of what was corrected, nor of what was before": [
        ("UllageEccErrors", '{error="uncorrected"}', ""),
        ("UllageEccErrors", f"increase({ECC}[1h])", ECC),
    ],
    "UllageDeviceHot: not for other reasons, nor for a while": [
        ("UllageDeviceHot", ".*thermal.*", ".*"),
        ("UllageDeviceHot", "for", NONE),
        ("UllageDeviceHot", ">= 95", ">= 80"),
        ("UllageDeviceHot", ">= 105", ">= 90"),
    ],
    # the fleet
    "UllageFleetAgentDown: not while it is started anew, nor where there is no fleet": [
        ("UllageFleetAgentDown", "for", NONE),
    ],
    "UllageFleetAlone: not while the head is moved": [("UllageFleetAlone", "for", NONE)],
    # alerts that Ullage receives
    "UllageAlertNotActed: not of what was done, disagreed with, said twice, or before": [
        ("UllageAlertNotActed", "failed|limited|unknown_target", "done"),
        ("UllageAlertNotActed", "failed|limited|unknown_target", "disagreed"),
        ("UllageAlertNotActed", "failed|limited|unknown_target", "duplicate"),
        ("UllageAlertNotActed",
         'increase(ullage_alerts_total{outcome=~"failed|limited|unknown_target"}[15m])',
         'ullage_alerts_total{outcome="failed"}'),
    ],
}  # fmt: skip
