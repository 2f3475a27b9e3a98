"""Who has which model: the index says the same as reading all words."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from supervisor.fleet.hosts import HostId
from supervisor.fleet.index import Index, having
from tests.fleet.builders import housed, word

MODELS = ["m", "n", "org/m", "m:latest", "n:8b"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.none() | st.sets(st.tuples(st.sampled_from(MODELS), st.sampled_from("xy"))),
        ),
        max_size=12,
    )
)
def test_the_index_says_the_same_as_the_words_however_they_came(
    steps: list[tuple[str, set[tuple[str, str]] | None]],
) -> None:
    index, words = Index(), {}
    for host, models in steps:
        if models is None:
            index.forget(HostId(host))
            words.pop(host, None)
        else:
            told = word(host, *(housed(m, engine=e) for m, e in sorted(models)))
            words[host] = told
            index.told(told)
    for name in [*MODELS, "x/m", "y/org/m", "x/m:latest", "nobody"]:
        expected = {h: found for h, w in words.items() if (found := having(w, name))}
        assert {**index.who(name)} == expected
    assert {*index.known()} == {n for n in index.known() if index.who(n)}


def test_a_model_that_became_ready_is_seen_by_the_next_look() -> None:
    index = Index([word("a", housed("m"))])
    index.told(word("a", housed("m", "loaded"), number=2))
    assert index.who("m")[HostId("a")][0].ready
