"""Where a model was placed and why, in words: of each host a sentence. Every `Why` has one."""

from __future__ import annotations

from collections.abc import Collection

from supervisor.core.wording import duration
from supervisor.core.wording import size as in_words
from supervisor.printable import printable

from .decided import CHOSEN, Asking, Choice, Note, Placement, Queued, Why
from .hosts import Directory, Offer, Promise

LEAST = 0.05  # seconds: less is told as nothing

_SENTENCES = {
    Why.READY: "{} was chosen: the model is ready there",
    Why.COMING: "{} was chosen: the model is being loaded there",
    Why.LEAST_LOSS: "{} was chosen: of those that offered it loses least",
    Why.PART: "{} was chosen: it holds a part",
    Why.BUSIER: "{} was not taken: the model is ready there, and has more to do than elsewhere",
    Why.NOT_NEEDED: "{} was not needed: it is served without a load elsewhere",
    Why.OVERLOADED: "{} was not taken: the model is ready there, and has more to do than it may",
    Why.DEARER: "{} was not taken: another loses less, is ready sooner, or has more room",
    Why.NOT_ENOUGH: "{} would do, but too few others would, for a model that spans hosts",
    Why.BROKEN: "{} has its part, which leaves first: another part has gone",
    Why.IN_PLACE: "{} holds a part of it that is in use",
    Why.NOT_ASKED: "{} was not asked: others were more promising",
    Why.ASKED: "{} is asked for an offer",
    Why.NO_OFFER: "{} was asked, and gave no offer",
    Why.OVER: "{} offered, and the time of its offer has run out",
    Why.NO_FIT: "{} has no room for it",
    Why.PROMISED: "{} has promised too much of its memory already",
    Why.CLAIMED: "{} has been told to load it, and has not begun yet",
    Why.WAITS: "{} was not asked: first it has to be known how another placement of it ended",
    Why.UNSURE: "{} has it or is loading it, and is out of reach: it may be back any moment",
    Why.NO_MODEL: "{} has no such model",
    Why.ENGINE: "{} has it, by an engine that does not answer",
    Why.TOO_SMALL: "{} is too small for it",
    Why.NO_POOLS: "{} has no pools: nothing is loaded there",
    Why.NO_ADDRESS: "{} takes no requests from others: it has no `address` under [fleet]",
    Why.AVOIDED: "{} was left out: whoever asks does not want it",
    Why.SILENT: "{} is silent: nothing new is placed there",
    Why.LOST: "{} is lost",
    Why.DRAINED: "{} is drained: nothing comes there",
    Why.RESTS: "{} takes no part",
}
_WITH_LOSS = frozenset({Why.LEAST_LOSS, Why.PART, Why.DEARER, Why.NOT_ENOUGH})
# What a note's detail is of, where it is more than the host's own words.
_DETAILS = {Why.PROMISED: "{} of it", Why.TOO_SMALL: "all its memory is {}"}


def of_note(note: Note) -> str:
    text = _SENTENCES[note.why].format(printable(note.host))
    if note.detail:
        text += ": " + _DETAILS.get(note.why, "{}").format(printable(note.detail))
    elif note.loss is not None and note.why in _WITH_LOSS:
        # Seconds that whoever leaves is expected to cost, to a tenth.
        lost = duration(note.loss) if note.loss >= LEAST else "nothing"
        text += f" (it would lose {lost})"
    return text


def of_choice(choice: Choice) -> list[str]:
    """What was decided, and why every host was taken or not: the chosen first."""
    first = [n for n in choice.notes if n.why in CHOSEN]
    others = [n for n in choice.notes if n.why not in CHOSEN and n.why is not Why.NO_MODEL]
    told = [of_note(n) for n in (*first, *others)]
    return [_headline(choice), *told, *_without(choice.notes)]


def of_offer(offer: Offer) -> str:
    """What a host would do."""
    where, model = printable(offer.host), printable(offer.model)
    if offer.ready:
        return f"{model} is ready on {where}"
    if not offer.fits:
        why = f": {printable(offer.why)}" if offer.why else ""
        return f"{where} has no room for {model}{why}"
    leaves = ", ".join(printable(name) for name in offer.leaves)
    gone = f"; {leaves} would leave, at {duration(offer.loss)}" if leaves else ""
    return f"{where} would load {model} ({in_words(offer.size)}, {duration(offer.wait)}){gone}"


def of_promise(promise: Promise, directory: Directory) -> str:
    left = max(0.0, promise.until - directory.at)
    spans = f", one of {len(promise.members)} hosts" if len(promise.members) > 1 else ""
    what = f"{in_words(promise.size)} of {printable(promise.host)}"
    return f"{what} are promised to {printable(promise.model)} for {duration(left)} more{spans}"


def _headline(choice: Choice) -> str:
    if isinstance(choice, Asking):
        return f"{printable(choice.claim)}: {_names(choice.hosts)} asked for offers"
    model = printable(choice.model)
    if isinstance(choice, Queued):
        if choice.unknown:
            return f"{model}: no host that is heard of has such a model"
        wait = "" if choice.wait is None else f", for {duration(choice.wait)} at most"
        return f"{model} waits{wait}: no host can serve it now"
    if choice.ready:
        return f"{model} is ready on {printable(choice.host)}"
    if choice.coming:
        return f"{model} is being loaded on {printable(choice.host)}"
    return f"{model} is to be loaded on {_members(choice)}"


def _members(placement: Placement) -> str:
    return ", ".join(printable(host) for host in placement.members)


def _names(hosts: Collection[str]) -> str:
    names = ", ".join(map(printable, hosts))
    return f"{names} {'is' if len(hosts) == 1 else 'are'}"


def _without(notes: Collection[Note]) -> list[str]:
    """Those that have no such model may be many: one sentence for all of them."""
    without = [printable(n.host) for n in notes if n.why is Why.NO_MODEL]
    if len(without) < 2:
        return [of_note(n) for n in notes if n.why is Why.NO_MODEL]
    more = f" and {len(without) - 5} more" if len(without) > 5 else ""
    return [f"{', '.join(without[:5])}{more} have no such model"]
