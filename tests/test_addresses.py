"""Whom a name leads to: looked at for each connection, and what is never called."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

import pytest

from supervisor import addresses
from supervisor.addresses import NeverCalled, address_of, connect, is_never_called, places
from tests.resolver import Resolver


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.0.1",
        "fe80::1",
        "fe80::1%lo",
        "febf:ffff::1",
        "fd00:ec2::254",
        "::ffff:169.254.169.254",
        "2002:a9fe:a9fe::1",  # 6to4
        "64:ff9b::a9fe:a9fe",  # NAT64
        "2001:0:5ef5:79fb:0:59d:5601:5601",  # Teredo, of a client at 169.254.169.254
    ],
)
def test_link_local_and_metadata_addresses_are_never_called_however_they_are_written(address):
    assert is_never_called(ipaddress.ip_address(address))
    with pytest.raises(NeverCalled, match="never called"):
        asyncio.run(places(address, 80))


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "::1", "10.0.0.7", "169.253.1.1", "fd00::254", "2001:db8::1", "64:ff9b::7f00:1"],
)
def test_every_other_address_is_called_as_it_is_written_and_looked_up_nowhere(address, monkeypatch):
    asked = Resolver(monkeypatch)
    assert asyncio.run(places(address, 80)) == (address,)
    assert asked.names == []


def test_a_name_may_be_called_where_it_leads_to_somebody_who_may(monkeypatch):
    asked = Resolver(monkeypatch, box=["fe80::7", "10.0.0.7", "169.254.0.9", "10.0.0.8"])
    assert asyncio.run(places("box", 80)) == ("10.0.0.7", "10.0.0.8")
    assert asked.names == ["box"]


def test_a_name_that_leads_to_nobody_who_may_be_called_is_told_with_where_it_leads(monkeypatch):
    Resolver(monkeypatch, inside=["169.254.169.254", "fd00:ec2::254"])
    with pytest.raises(NeverCalled, match=r"inside leads to 169\.254\.169\.254, fd00:ec2::254"):
        asyncio.run(places("inside", 80))


@pytest.mark.parametrize(
    ("name", "address", "called"),
    [
        ("host.containers.internal", "169.254.1.2", True),
        ("Host.Docker.Internal", "169.254.1.2", True),
        ("host.containers.internal", "169.254.169.254", False),
        ("elsewhere", "169.254.1.2", False),
    ],
)
def test_a_container_finds_its_machine_where_podman_says(name, address, called, monkeypatch):
    Resolver(monkeypatch, **{name.lower(): [address]})
    if called:
        assert asyncio.run(places(name, 80)) == (address,)
        return
    with pytest.raises(NeverCalled):
        asyncio.run(places(name, 80))


def test_localhost_is_this_machine_whatever_names_say(monkeypatch):
    Resolver(monkeypatch, localhost=["203.0.113.5", "127.0.0.1"])
    assert asyncio.run(places("LocalHost", 80)) == ("127.0.0.1",)
    Resolver(monkeypatch, localhost=["203.0.113.5"])
    with pytest.raises(NeverCalled, match="localhost leads to 203"):
        asyncio.run(places("localhost", 80))


def test_a_name_that_nobody_knows_is_told_as_the_system_does(monkeypatch):
    Resolver(monkeypatch)
    with pytest.raises(socket.gaierror, match="Name or service not known"):
        asyncio.run(places("nowhere", 80))


def test_the_next_address_is_tried_where_one_refuses_or_is_silent(monkeypatch):
    Resolver(monkeypatch, box=["10.0.0.1", "10.0.0.2", "10.0.0.3"])
    monkeypatch.setattr(addresses, "SOON", 0.01)
    tried = []

    async def to(address):
        tried.append(address)
        if address == "10.0.0.1":
            raise ConnectionRefusedError
        if address == "10.0.0.2":
            await asyncio.Event().wait()
        return f"at {address}"

    assert asyncio.run(connect("box", 80, to)) == "at 10.0.0.3"
    assert tried == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]


def test_what_the_last_address_answers_is_what_is_told(monkeypatch):
    Resolver(monkeypatch, box=["10.0.0.1", "10.0.0.2"])

    async def to(address):
        raise OSError(f"no way to {address}")

    with pytest.raises(OSError, match=r"no way to 10\.0\.0\.2"):
        asyncio.run(connect("box", 80, to))


def test_one_of_ipv4_in_ipv6_is_itself_and_a_name_is_none():
    assert str(address_of("::ffff:127.0.0.1")) == "127.0.0.1"
    assert address_of("gpu.lan") is None
