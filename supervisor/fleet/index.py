"""Who has which model, by its name: nobody else's list of models is read for a wish."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .hosts import Directory, HostId, Housed, Word

LATEST = ":latest"  # as registries have it, no tag means the latest


def names(housed: Housed) -> tuple[str, ...]:
    """All that it may be asked for as: with its engine and without, and without a tag."""
    found = (housed.name, f"{housed.engine}/{housed.name}")
    if housed.name.endswith(LATEST):
        return (*found, *(name.removesuffix(LATEST) for name in found))
    return found


def plain(housed: Housed) -> str:
    """The one name under which a placement of it is claimed, whatever it was asked for as."""
    return housed.name.removesuffix(LATEST)


def having(word: Word, model: str) -> tuple[Housed, ...]:
    """What a host has by that name. Several of its engines may have it."""
    return tuple(h for h in word.models if model in names(h))


class Index:
    """Which hosts have which model, kept as their words come: `told` costs what one host has."""

    def __init__(self, words: Iterable[Word] = ()) -> None:
        self._words: dict[HostId, Word] = {}
        self._by_name: dict[str, dict[HostId, tuple[Housed, ...]]] = {}
        for word in words:
            self.told(word)

    @classmethod
    def of(cls, directory: Directory) -> Index:
        return cls(host.word for host in directory.hosts.values())

    def told(self, word: Word) -> None:
        """Its latest word takes the place of the one before. The same models: nothing to do."""
        before = self._words.get(word.host)
        self._words[word.host] = word
        if before is not None and before.models == word.models:
            return
        new: dict[str, list[Housed]] = {}
        for housed in word.models:
            for name in names(housed):
                new.setdefault(name, []).append(housed)
        if before is not None:
            for name in {n for h in before.models for n in names(h)} - new.keys():
                self._drop(name, word.host)
        for name, found in new.items():
            self._by_name.setdefault(name, {})[word.host] = tuple(found)

    def forget(self, host: HostId) -> None:
        before = self._words.pop(host, None)
        if before is not None:
            for name in {n for h in before.models for n in names(h)}:
                self._drop(name, host)

    def who(self, model: str) -> Mapping[HostId, tuple[Housed, ...]]:
        return self._by_name.get(model, {})

    def known(self) -> Iterable[str]:
        return self._by_name

    def _drop(self, name: str, host: HostId) -> None:
        hosts = self._by_name[name]
        del hosts[host]
        if not hosts:
            del self._by_name[name]
