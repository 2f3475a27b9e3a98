"""What the kernel answers about sockets that listen: its own bytes, and this very kernel."""

import errno
import socket
import sys
from ipaddress import ip_address

import pytest

from collectors import sock_diag
from collectors.sock_diag import Answer, Made, listeners, parse, question

# Answers of Linux 6.18 about port 18000 of user 1234, by IPv4 and by IPv6.
V4 = bytes.fromhex(
    "740000001400020001000000821a0000020a0000465000007f000001000000000000000000000000000000000000"
    "00000000000000000000000000000b00000000000000000000000000000080000000d2040000deec350005000800"
    "000000000c001500ff760000000000000600160052000000"
)
V6 = bytes.fromhex(
    "7c0000001400020001000000821a00000a0a00004650000000000000000000000000000000000001000000000000"
    "00000000000000000000000000000c00000000000000000000000000000080000000d2040000dfec350005000800"
    "0000000005000b00010000000c001500ff760000000000000600160012000000"
)
HERE = ip_address("127.0.0.1")
DONE = bytes.fromhex("140000000300020001000000821a000000000000")
REFUSED = bytes.fromhex("140000000300020001000000811a0000feffffff")  # it has no such module
OLD = V4.replace(bytes.fromhex("0c001500"), bytes.fromhex("0c006300"))  # another attribute
LITTLE = pytest.mark.skipif(sys.byteorder != "little", reason="the bytes are of such a machine")


@LITTLE
@pytest.mark.parametrize(("answer", "address"), [(V4, "127.0.0.1"), (V6, "::1")])
def test_the_user_the_control_group_and_the_address_of_a_socket_are_read(
    answer: bytes, address: str
) -> None:
    made = (Made(1234, 30463, ip_address(address)),)
    assert parse(answer, 18000) == Answer(made)
    assert parse(answer + DONE, 18000) == Answer(made, last=True)
    assert parse(answer * 2 + DONE + answer, 18000) == Answer(made * 2, last=True)
    assert parse(answer, 18001) == Answer(), "it is of another port"


@LITTLE
def test_an_older_kernel_tells_no_control_group() -> None:
    assert parse(OLD, 18000) == Answer((Made(1234, None, HERE),))


@LITTLE
def test_what_the_kernel_refuses_is_an_error() -> None:
    error = REFUSED.replace(b"\x03\0\x02\0", b"\x02\0\x02\0", 1)
    with pytest.raises(OSError, match="does not tell") as raised:
        parse(error, 18000)
    assert raised.value.errno == errno.ENOENT


@LITTLE
def test_half_an_answer_is_no_answer() -> None:
    for end in range(len(V4)):
        found = parse(V4[:end], 18000).made
        assert found in ((), (Made(1234, None, HERE),), (Made(1234, 30463, HERE),))
    assert parse(V4[:80], 18000) == Answer()
    assert parse(bytes(64), 18000) == Answer(last=True), "a length of 0 would never end"


def test_a_question_is_as_long_as_it_says() -> None:
    asked = question(socket.AF_INET, 18000)
    assert int.from_bytes(asked[:4], sys.byteorder) == len(asked) == 72
    assert asked[24:26] == b"\x46\x50"


@pytest.mark.skipif(sys.platform != "linux", reason="needs sock_diag")
def test_this_kernel_tells_of_our_own_sockets() -> None:
    with socket.socket() as one, socket.socket(socket.AF_INET6) as other:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
        one.listen()
        found = listeners(port)
        if not found or found[0].group is None:
            pytest.skip("this kernel does not tell of sockets' control groups")
        try:
            other.bind(("::1", port))
        except OSError as error:
            pytest.skip(f"IPv6: {error}")
        other.listen()
        assert [m.uid for m in listeners(port)] == [found[0].uid] * 2
    assert listeners(port) == ()


def test_a_machine_without_netlink_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(sock_diag.socket, "AF_NETLINK", raising=False)
    assert listeners(80) == ()
