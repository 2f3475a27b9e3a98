"""Versions below which a package is known to be unsafe for what Ullage does with it.

No list of advisories is asked: this is what was looked at, with its reason, for where there is no
net. Whoever has one asks more (`pip-audit -r deploy/requirements.lock`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from .known import Package


@dataclass(frozen=True, slots=True)
class Floor:
    """`because` is what went wrong below `version`; `advisory` is its number, where it has one."""

    name: str
    version: str
    because: str
    advisory: str = ""


FLOORS = (
    Floor("certifi", "2024.7.4", "trusts a root that browsers no longer do", "CVE-2024-39689"),
    Floor(
        "h11",
        "0.16.0",
        "takes chunks that do not end as they must: a request can hide in another",
        "CVE-2025-43859",
    ),
    Floor(
        "httpx", "0.23.0", "a base address may be left by what is put behind it", "CVE-2021-41945"
    ),
    Floor("idna", "3.15", "a name can take very long to encode", "CVE-2026-45409"),
    Floor("markdown-it-py", "2.2.0", "a text can crash what shows it", "CVE-2023-26303"),
    Floor("protobuf", "6.31.1", "a nested message can exhaust the stack", "CVE-2025-4565"),
    Floor(
        "psutil",
        "5.6.6",
        "memory is freed twice where a file of the kernel's ends early",
        "CVE-2019-18874",
    ),
    Floor(
        "pydantic", "2.4.0", "a text takes for ever to be refused as an address", "CVE-2024-3772"
    ),
    Floor("pygments", "2.20.0", "a text takes for ever to be coloured", "CVE-2026-4539"),
    Floor(
        "python-multipart",
        "0.0.27",
        "a part of a form may have headers without end",
        "CVE-2026-42561",
    ),
    Floor("pyyaml", "5.4", "a document may run code by its full loader", "CVE-2020-14343"),
    Floor("ray", "2.54.0", "its dashboard deletes jobs for anybody", "CVE-2026-27482"),
    Floor(
        "requests",
        "2.33.0",
        "what it unpacks goes to a file that others can foresee",
        "CVE-2026-25645",
    ),
    Floor(
        "starlette",
        "1.3.1",
        "limits of forms are passed over; below 1.0.1 a Host can stand for a path",
        "CVE-2026-54283, CVE-2026-48710",
    ),
    Floor(
        "urllib3",
        "2.7.0",
        "secrets may follow a redirect; a packed answer unpacks without end",
        "CVE-2026-44431, CVE-2026-44432",
    ),
    Floor("uvicorn", "0.11.7", "a request's address can forge lines of the log", "CVE-2020-7694"),
)


def complaints(packages: Mapping[str, Package], wants: Iterable[Requirement] = ()) -> list[str]:
    """Of what is locked, and of the ranges that the project asks for."""
    said = [
        f"{f.name} {packages[f.name].version} is below {f.version}: {f.because}"
        + (f" ({f.advisory})" if f.advisory else "")
        for f in FLOORS
        if f.name in packages and Version(packages[f.name].version) < Version(f.version)
    ]
    floors = {f.name: f for f in FLOORS}
    for want in wants:
        floor = floors.get(canonicalize_name(want.name))
        if floor is not None and not _starts_at(want, Version(floor.version)):
            said.append(f"{want} in pyproject.toml allows what is below {floor.version}")
    return said


def _starts_at(want: Requirement, least: Version) -> bool:
    return any(
        s.operator in (">=", "==", "~=", ">") and Version(s.version.removesuffix(".*")) >= least
        for s in want.specifier
    )
