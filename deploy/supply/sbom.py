"""The bill of materials, as CycloneDX 1.6 has it: what an installation may hold, and who needs it.

The same packages give the same bytes: there is no time in it, and its number is a digest of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.utils import canonicalize_name

from supervisor import __version__

from .known import CORE, EXTRAS, Package, Where, links, wanted

SPECIFICATION = "1.6"
PART = "ullage:part"  # by which extra a component comes in


def text(
    packages: Mapping[str, Package],
    needs: Mapping[str, Mapping[str, set[Where]]],
    version: str = __version__,
) -> str:
    bom = _bom(packages, needs, version)
    number = uuid5(NAMESPACE_URL, json.dumps(bom, sort_keys=True))
    return (
        json.dumps({**bom, "serialNumber": f"urn:uuid:{number}"}, indent=1, sort_keys=True) + "\n"
    )


def _bom(
    packages: Mapping[str, Package], needs: Mapping[str, Mapping[str, set[Where]]], version: str
) -> dict[str, Any]:
    needed = links(packages)
    own = f"pkg:pypi/ullage@{version}"
    roots = {
        canonicalize_name(want.name)
        for part, wants in wanted().items()
        if part in (CORE, *EXTRAS)
        for want in wants
    }
    return {
        "bomFormat": "CycloneDX",
        "specVersion": SPECIFICATION,
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": own,
                "name": "ullage",
                "version": version,
                "purl": own,
                "licenses": [{"expression": "Apache-2.0"}],
            }
        },
        "components": [_component(packages[name], needs) for name in sorted(needed)],
        "dependencies": [
            {"ref": own, "dependsOn": [_ref(packages[name]) for name in sorted(roots)]},
            *(_needs(name, others, packages) for name, others in sorted(needed.items())),
        ],
    }


def _ref(package: Package) -> str:
    return f"pkg:pypi/{package.name}@{package.version}"


def _component(package: Package, needs: Mapping[str, Mapping[str, set[Where]]]) -> dict[str, Any]:
    parts = [part for part in (CORE, *EXTRAS) if package.name in needs[part]]
    return {
        "type": "library",
        "bom-ref": _ref(package),
        "name": package.name,
        "version": package.version,
        "description": package.summary,
        "purl": _ref(package),
        "scope": "required" if CORE in parts else "optional",
        "licenses": [_licence(package.licence)],
        "externalReferences": [
            # By its name alone: whoever has the file can check it, from wherever it is.
            {
                "type": "distribution",
                "url": filename,
                "hashes": [{"alg": "SHA-256", "content": digest}],
            }
            for filename, digest in package.files.items()
        ],
        "properties": [{"name": PART, "value": part} for part in parts],
    }


def _licence(said: str) -> dict[str, Any]:
    try:
        return {"expression": str(canonicalize_license_expression(said))}
    except InvalidLicenseExpression:
        return {"license": {"name": said}}


def _needs(name: str, others: set[str], packages: Mapping[str, Package]) -> dict[str, Any]:
    found = [_ref(packages[other]) for other in sorted(others)]
    return {"ref": _ref(packages[name]), **({"dependsOn": found} if found else {})}
