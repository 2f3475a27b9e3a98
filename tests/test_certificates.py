"""Certificates in files: what is refused, what is taken anew, and how long each is good for."""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
import subprocess
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.tls.certificates import Certificate, CertificateError, Files, read
from supervisor.tls.encryption import of_certificates
from supervisor.tls.validity import validity
from tests.certificates import Authority, authority

DAY = 86400.0


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("authority"))


def refused(files: Files) -> tuple[str, str]:
    with pytest.raises(CertificateError) as found:
        read(files)
    return found.value.about, str(found.value)


def test_the_end_that_is_read_is_the_one_that_openssl_says(issuer):
    files = issuer.issue("a", days=77)
    said = subprocess.run(
        ["openssl", "x509", "-in", files.cert, "-noout", "-enddate"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    found = validity(files.cert.read_bytes())
    assert found is not None
    assert found.ends == ssl.cert_time_to_seconds(said.removeprefix("notAfter="))
    assert found.ends - found.begins == 77 * DAY


def test_the_first_of_a_chain_counts(issuer):
    files = issuer.issue("a", days=5)
    own = validity(files.cert.read_bytes())
    chain = b"a comment\n" + files.cert.read_bytes() + issuer.cafile.read_bytes()
    assert validity(chain) == own
    assert validity(issuer.cafile.read_bytes()) != own


@pytest.mark.parametrize(
    ("tag", "text", "year"),
    [
        (b"\x17", b"491231235959Z", 2049),
        (b"\x17", b"500101000000Z", 1950),
        (b"\x18", b"20991231235959Z", 2099),
    ],
)
def test_both_ways_to_write_a_time_are_read(tag, text, year):
    time = tag + bytes([len(text)]) + text

    def wrap(tag: int, inner: bytes) -> bytes:
        return bytes([tag, 0x81, len(inner)]) + inner

    serial = b"\x02\x01\x01"
    signed = wrap(0x30, serial + b"\x30\x00" + b"\x30\x00" + wrap(0x30, time + time))
    found = validity(ssl.DER_cert_to_PEM_cert(wrap(0x30, signed)).encode())
    assert found is not None
    assert datetime.fromtimestamp(found.ends, UTC).year == year


@given(st.binary(max_size=200))
def test_what_is_no_certificate_has_no_end(der):
    pem = ssl.DER_cert_to_PEM_cert(der).encode()
    found = validity(pem)
    assert found is None or found.ends is not None
    assert validity(der) is None


def test_what_is_missing_is_named(issuer, tmp_path):
    files = issuer.issue("a")
    gone = tmp_path / "gone.pem"
    assert refused(files._replace(cert=gone)) == (
        "tls_cert",
        f"{gone} cannot be read: No such file or directory",
    )
    assert refused(files._replace(key=gone))[0] == "tls_key"


def test_a_key_that_everybody_may_read_is_refused(issuer):
    files = issuer.issue("a")
    files.key.chmod(0o644)
    assert refused(files) == ("tls_key", f"{files.key} is open to everybody; chmod 640 it")
    files.key.chmod(0o640)
    read(files)


def test_a_key_of_another_certificate_is_refused(issuer):
    files, other = issuer.issue("a"), issuer.issue("b")
    about, why = refused(files._replace(key=other.key))
    assert about == "tls_key"
    assert why == f"{other.key} is not the key of the certificate in {files.cert}"


def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_its_password(issuer):
    files = issuer.issue("a")
    issuer.encrypt(files.key)
    about, why = refused(files)
    assert about == "tls_key"
    assert "is encrypted" in why
    assert "openssl pkey -in a.key" in why


def test_a_pipe_keeps_nobody_waiting(issuer, tmp_path):
    files, pipe = issuer.issue("a"), tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    assert refused(files._replace(key=pipe)) == (
        "tls_key",
        f"{pipe} is no plain file; name a file in PEM",
    )
    assert refused(files._replace(cert=tmp_path))[1].endswith("is a folder; name a file in PEM")


@pytest.mark.parametrize(
    ("cert", "key", "about", "why"),
    [
        (b"", None, "tls_cert", "holds no certificate in PEM"),
        (None, b"word", "tls_key", "holds no private key in PEM"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", None, "tls_cert",
         "cannot be used"),
        (b"x" * 2**21, None, "tls_cert", "is too large"),
    ],
)  # fmt: skip
def test_files_that_hold_something_else_are_refused(issuer, cert, key, about, why):
    files = issuer.issue("a")
    for file, text in zip(files, (cert, key), strict=True):
        if text is not None:
            file.write_bytes(text)
    found = refused(files)
    assert found[0] == about
    assert why in found[1]


def test_old_versions_of_tls_are_not_spoken(issuer):
    context, _ = read(issuer.issue("a"))
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.verify_mode is ssl.CERT_NONE  # clients have none of their own


# -- taken anew


def looked(certificate: Certificate, times: int = 2) -> None:
    async def story() -> None:
        for _ in range(times):
            await certificate.look()

    asyncio.run(story())


def renew(files: Files, by: Files) -> None:
    for new, old in zip(by, files, strict=True):
        shutil.copy(new, old)


def test_a_renewed_certificate_is_taken_when_its_files_have_come_to_rest(issuer):
    served = issuer.serve("a")
    served.load()
    before = served.context
    renew(served.files, issuer.issue("b", days=60))
    looked(served, 1)
    assert served.context is before  # its key may be written still
    looked(served, 1)
    assert served.context is not before
    assert served.valid == validity(served.files.cert.read_bytes())
    after = served.context
    looked(served, 3)
    assert served.context is after  # and is not read again


def test_a_broken_one_is_refused_and_told_and_the_one_before_stays(issuer, caplog):
    served = issuer.serve("a")
    served.load()
    before, kept = served.context, served.files.key.read_bytes()
    served.files.key.write_bytes(issuer.issue("b").key.read_bytes())
    looked(served, 4)
    assert served.context is before
    assert served.fault is not None
    assert "is not the key" in served.fault
    assert caplog.text.count("the one before stays in use") == 1  # not at every look
    (advice,) = of_certificates([served])
    assert advice.about == "the API"
    assert "not in use" in advice.what
    served.files.key.write_bytes(kept)
    looked(served)
    assert served.fault is None
    assert list(of_certificates([served])) == []


def test_files_that_are_gone_leave_the_one_that_is_in_use(issuer):
    served = issuer.serve("a")
    served.load()
    before = served.context
    served.files.cert.unlink()
    looked(served)
    assert served.context is before
    assert served.fault is not None
    assert "No such file" in served.fault


def test_one_that_is_over_never_takes_the_place_of_one_that_is_not(issuer):
    now = [0.0]
    served = Certificate("API", issuer.issue("a", days=60), wall=lambda: now[0])
    served.load()
    assert served.ends is not None
    now[0] = served.ends - 10 * DAY
    before = served.context
    renew(served.files, issuer.issue("b", days=30))
    looked(served)
    assert served.context is before
    assert "has expired on" in (served.fault or "")


def test_its_end_is_told_also_while_the_share_of_its_files_hangs(issuer, caplog, monkeypatch):
    async def hangs(work, deadline):
        raise TimeoutError

    served = Certificate("gateway", issuer.issue("a", days=60), wall=lambda: now)
    served.load()
    now = served.valid.ends - 10 * DAY
    monkeypatch.setattr(served.aside, "call", hangs)
    looked(served, 2)
    assert caplog.text.count("its certificate ends in 10 days") == 1


def test_its_end_is_told_two_weeks_before_once_a_day(issuer, caplog):
    now = [0.0]
    served = Certificate("gateway", issuer.issue("a", days=60), wall=lambda: now[0])
    served.load()
    assert served.ends is not None
    assert served.valid is not None
    assert "begins on" in (served.trouble or "")
    now[0] = served.valid.begins
    looked(served)
    assert served.trouble is None
    assert caplog.text == ""
    now[0] = served.ends - 10 * DAY
    looked(served, 3)
    assert caplog.text.count("its certificate ends in 10 days") == 1
    now[0] += DAY
    looked(served, 3)
    assert caplog.text.count("its certificate ends in 9 days") == 1
    now[0] = served.ends
    (advice,) = of_certificates([served])
    assert "has expired on" in advice.what
    assert "renew" in advice.remedy
