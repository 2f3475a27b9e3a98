"""Requests that pass through the gateway: how many, how long, who waits, who is refused."""

from .panels import (
    ENGINE,
    HERE,
    INSTANCE,
    JOB,
    MARKS,
    MODEL,
    ORANGE,
    RED,
    UP,
    YELLOW,
    Board,
    Panel,
    Query,
    Row,
    Variable,
    at_most,
    halves,
    increase,
    over_all,
    rate,
)

# Those that were asked for, and what was asked for by no name of ours.
ASKED = Variable("model", "Model", f"label_values(ullage_requests_total{{{ENGINE}}}, model)")
ASKING = Variable("engine", "Engine", f"label_values(ullage_requests_total{{{HERE}}}, engine)")

TTFT = "ullage_time_to_first_token_seconds"
ALL = f"sum(rate(ullage_requests_total{{{MODEL}}}[$__rate_interval]))"
FAILED = f'sum(rate(ullage_requests_total{{{MODEL}, code=~"5.."}}[$__rate_interval]))'
PLACING = "ullage_gateway_placement_seconds"
NONE = f"0 * sum(ullage_gateway_up{{{HERE}}})"  # of what is absent while nobody asks

NOW = (
    Panel(
        "Requests",
        "Requests that ended, each second.",
        (Query(ALL),),
        "reqps", "stat", 4, 4,
    ),
    Panel(
        "Failed",
        "Share of requests that were answered with a server's error, want of room included.",
        (Query(f"({FAILED} or 0 * {ALL}) / {ALL}"),),
        "percentunit", "stat", 4, 4, steps=((0.01, YELLOW), (0.05, RED)),
    ),
    Panel(
        "At work",
        "Requests that engines work on now.",
        (Query(f"sum(ullage_requests_in_flight{{{MODEL}}}) or {NONE}"),),
        type="stat", width=4, height=4,
    ),
    Panel(
        "Waiting",
        "Requests that wait until their model is there.",
        (Query(f"sum(ullage_requests_held{{{MODEL}}}) or {NONE}"),),
        type="stat", width=4, height=4, steps=((1, YELLOW), (50, RED)),
    ),
    Panel(
        "First token",
        "From a whole request until the first content of its answer: 19 of 20 took at most this "
        "long.",
        (Query(at_most(0.95, TTFT, ENGINE, "le")),),
        "s", "stat", 4, 4,
    ),
    Panel(
        "Gateways",
        "Whether each listens.",
        (Query(f"ullage_gateway_up{{{HERE}}}", "{{instance}}"),),
        type="stat", width=4, height=4, words=UP,
    ),
)  # fmt: skip

TRAFFIC = (
    Panel(
        "Requests by answer",
        "Requests that ended each second, by the status they were answered with.",
        (Query(rate("ullage_requests_total", "code", MODEL), "{{code}}"),),
        "reqps", width=8, stacked=True, least=0,
    ),
    Panel(
        "Requests by model",
        "Requests that ended each second, by the model that they asked for; _other are those "
        "beyond a limit, and with the engine _none what reached no model.",
        (Query(rate("ullage_requests_total", "engine, model", MODEL), "{{engine}}/{{model}}"),),
        "reqps", width=8, stacked=True, least=0,
    ),
    Panel(
        "Requests by API",
        "Requests that ended each second, by the API that they spoke.",
        (Query(rate("ullage_requests_total", "api", MODEL), "{{api}}"),),
        "reqps", width=8, stacked=True, least=0,
    ),
    Panel(
        "At work and waiting",
        "Requests that engines work on, and those that wait until their model is there.",
        (
            Query(f"sum by (engine, model) (ullage_requests_in_flight{{{MODEL}}})",
                  "{{engine}}/{{model}}"),
            Query(f"sum by (engine, model) (ullage_requests_held{{{MODEL}}})",
                  "{{engine}}/{{model}} waits", True),
        ),
        width=6, least=0,
    ),
    Panel(
        "Longest wait",
        "How long the first of those that wait for a model has waited by now.",
        (Query(f"max by (engine, model) (ullage_requests_held_longest_seconds{{{MODEL}}})",
               "{{engine}}/{{model}}"),),
        "s", width=6, least=0,
    ),
    Panel(
        "Answered bytes",
        "Bytes of answers that were passed on each second.",
        (Query(rate("ullage_response_bytes_total", "engine", ENGINE), "{{engine}}"),),
        "Bps", width=6, stacked=True, least=0,
    ),
    Panel(
        "Connections",
        "Of clients, to engines at work, and to engines kept open for the next request.",
        (Query(f"sum by (side) (ullage_gateway_connections{{{HERE}}})", "{{side}}"),),
        width=6, least=0,
    ),
)  # fmt: skip

TIMES = (
    Panel(
        "Until the first token",
        "From a whole request until the first content of a streamed answer, waiting included: "
        "half of them, and 19 of 20, took at most this long.",
        halves(TTFT, ENGINE),
        "s", least=0,
    ),
    Panel(
        "Until the first byte",
        "From a whole request until its answer begins, streamed or not, waiting included: half "
        "of them, and 19 of 20, took at most this long.",
        halves("ullage_request_first_byte_seconds", ENGINE),
        "s", least=0,
    ),
    Panel(
        "Until the last byte",
        "From a whole request until its answer is whole: half of them, and 19 of 20, took at "
        "most this long.",
        halves("ullage_request_duration_seconds", ENGINE),
        "s", least=0,
    ),
    Panel(
        "How long they were held",
        "Requests whose model was not there: half of them, and 19 of 20, waited at most this "
        "long.",
        halves("ullage_request_hold_seconds", ENGINE),
        "s", least=0,
    ),
)  # fmt: skip

WAITS = (
    Panel(
        "Loads for those who wait",
        "Loads that were made for requests, by what became of them; each bar is a minute.",
        (Query(increase("ullage_gateway_loads_total", "engine, result", ENGINE),
               "{{engine}} {{result}}"),),
        width=8, stacked=True, bars=True, least=0,
    ),
    Panel(
        "Kept from new requests",
        "Models at work that got no new requests so that they could leave: whether they had "
        "ended in time; each bar is a minute.",
        (Query(increase("ullage_gateway_drains_total", "result"), "{{result}}"),),
        width=8, stacked=True, bars=True, least=0,
    ),
    Panel(
        "Sent once more",
        "Requests that were sent again, for their engine had not begun to answer; each bar is a "
        "minute.",
        (Query(increase("ullage_request_retries_total", "engine", ENGINE), "{{engine}}"),),
        width=8, stacked=True, bars=True, least=0,
    ),
)  # fmt: skip

ACROSS = (
    Panel(
        "Where requests were placed",
        "Requests that the fleet's agent was asked about, by what it said; each bar is a minute.",
        (Query(increase("ullage_gateway_placements_total", "where"), "{{where}}"),),
        width=6, stacked=True, bars=True, least=0,
    ),
    Panel(
        "Until it was known where",
        "How long the agent took to say it: half of its answers, and 19 of 20, came within this "
        "time.",
        (
            Query(at_most(0.5, PLACING, HERE, "le"), "half"),
            Query(at_most(0.95, PLACING, HERE, "le"), "19 of 20", dashed=True),
        ),
        "s", width=6, least=0,
    ),
    Panel(
        "Other hosts at work for us",
        "Requests that other hosts of the fleet work on.",
        (Query(f"sum by (instance) (ullage_gateway_elsewhere_in_flight{{{HERE}}})",
               "{{instance}}"),),
        width=6, stacked=True, least=0,
    ),
    Panel(
        "Other hosts that failed",
        "Requests that another host was to serve, and was lost or refused; each bar is a minute.",
        (Query(increase("ullage_gateway_elsewhere_failures_total", "why"), "{{why}}"),),
        width=6, stacked=True, bars=True, least=0,
    ),
)  # fmt: skip

REFUSED = (
    Panel(
        "Refused and lost",
        "Requests that were refused, by why, and those whose client left; each bar is a minute.",
        (
            Query(increase("ullage_request_refusals_total", "why") + " > 0", "{{why}}"),
            Query(increase("ullage_request_clients_gone_total", "instance"),
                  "client left {{instance}}"),
        ),
        width=6, stacked=True, bars=True, least=0,
    ),
    Panel(
        "Why they were refused",
        "Refusals in the time that is shown.",
        (Query(over_all("ullage_request_refusals_total", "why") + " > 0",
               column="Requests", steps=((1, ORANGE),)),),
        type="table", width=6, labels=(("why", "Why"),),
    ),
    Panel(
        "By caller",
        "Requests each second, by the token that was sent.",
        (Query(rate("ullage_caller_requests_total", "token"), "{{token}}"),),
        "reqps", width=6, stacked=True, least=0,
    ),
    Panel(
        "Callers at work and waiting",
        "Requests under way, by the token that was sent.",
        (Query(f"sum by (token) (ullage_caller_requests_in_flight{{{HERE}}})", "{{token}}"),),
        width=6, stacked=True, least=0,
    ),
)  # fmt: skip

TRACES = (
    Panel(
        "Traces",
        "Traces that their collector has taken, and those that were lost, where any are sent; each "
        "bar is a minute.",
        (
            Query(increase("ullage_traces_sent_total", "instance"), "sent {{instance}}"),
            Query(increase("ullage_traces_lost_total", "instance"), "lost {{instance}}"),
        ),
        width=12, stacked=True, bars=True, least=0,
    ),
)  # fmt: skip

BOARD = Board(
    "gateway",
    "Ullage: gateway",
    "Requests that pass through the gateway: how many, how long, who waits, who is refused.",
    (JOB, INSTANCE, ASKING, ASKED),
    MARKS,
    (
        Row("Now", NOW),
        Row("Traffic", TRAFFIC),
        Row("Times", TIMES),
        Row("While models come and go", WAITS),
        Row("Across the fleet", ACROSS),
        Row("Refusals and callers", REFUSED),
        Row("Traces", TRACES),
    ),
)
