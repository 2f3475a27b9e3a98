"""Certificates for the tests, made by openssl when they are wanted: nothing of them is kept."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from supervisor.tls.certificates import Certificate, Files

EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
NAMES = "subjectAltName=DNS:localhost,IP:127.0.0.1"


@dataclass(frozen=True)
class Authority:
    """Issues certificates for this machine, in `folder`."""

    folder: Path

    @property
    def cafile(self) -> Path:
        return self.folder / "ca.pem"

    def issue(self, name: str, days: int = 30) -> Files:
        """New files, whoever had the name before."""
        into = Path(tempfile.mkdtemp(dir=self.folder))
        cert, key, asked = (into / f"{name}.{kind}" for kind in ("pem", "key", "csr"))
        named = ("-subj", f"/CN={name}", "-addext", NAMES)
        self._run("req", *EC, "-keyout", key, "-out", asked, *named)
        by = ("-CA", self.cafile, "-CAkey", self.folder / "ca.key", "-CAcreateserial")
        self._run("x509", "-req", "-in", asked, *by, "-days", str(days),
                  "-copy_extensions", "copy", "-out", cert)  # fmt: skip
        key.chmod(0o600)
        return Files(cert, key)

    def encrypt(self, key: Path) -> None:
        plain = key.rename(key.with_suffix(".plain"))
        self._run("pkey", "-in", plain, "-aes256", "-passout", "pass:word", "-out", key)

    def trust(self) -> ssl.SSLContext:
        """A client's."""
        return ssl.create_default_context(cafile=str(self.cafile))

    def serve(self, name: str = "server") -> Certificate:
        return Certificate("API", self.issue(name))

    def _run(self, *words: object) -> None:
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


def authority(folder: Path) -> Authority:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl, to make certificates")
    made = Authority(folder)
    made._run("req", "-x509", *EC, "-keyout", folder / "ca.key", "-out", made.cafile,
              "-days", "30", "-subj", "/CN=The Authority of the tests")  # fmt: skip
    return made
