"""Keys, and what is said of them."""

from __future__ import annotations

KEYS = (
    ("p", "pin"),
    ("u", "unload"),
    ("e", "explain"),
    ("l", "load"),
    ("s", "sleep"),
    ("w", "wake"),
    ("d", "decisions"),
    ("/", "filter"),
    ("o", "order"),
    ("f", "findings"),
    ("g", "pools"),
    ("?", "help"),
    ("q", "quit"),
)

HELP = (
    ("Model", (
        ("↑ ↓ k j", "the cursor: what follows is about the model under it"),
        ("p", "pin it: it is never evicted; again: unpin it"),
        ("u", "unload it; asks first"),
        ("s  w", "send it to sleep, wake it, where its engine can"),
        ("e  Enter", "explain why it is where it is, and what would have to change"),
    )),
    ("Machine", (
        ("l", "load a model; says first who would have to go"),
        ("d", "what was decided, why, and what became of it"),
        ("f", "what is wrong, in full"),
        ("g", "each pool: where every byte of it is"),
    )),
    ("Screen", (
        ("/", "only models with these words in name, engine, state or keepers; Esc: all"),
        ("o  O", "order by another column; turned round. A click on a heading does too"),
        ("r", "ask the daemon at once"),
        ("Esc", "take messages away"),
        ("q  Ctrl-C", "end; the daemon goes on"),
    )),
    ("Bars", (
        ("a b c", "models, by letter, with their names where there is room"),
    )),
)  # fmt: skip
BARS = (
    ("foreign", "memory of other programs"),
    ("promised", "kept for loads and reservations that are under way"),
    ("free", "free"),
    ("reserve", "free, and to stay so; the line is where it begins"),
)
