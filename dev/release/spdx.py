"""Writes a CycloneDX list as SPDX 2.3: the same packages, versions, licences and dependencies."""

import json
import re
from typing import Any

from license_expression import ExpressionError, LicenseExpression
from spdx_tools.common.spdx_licensing import spdx_licensing
from spdx_tools.spdx.jsonschema.document_converter import DocumentConverter
from spdx_tools.spdx.model.actor import Actor, ActorType
from spdx_tools.spdx.model.checksum import Checksum, ChecksumAlgorithm
from spdx_tools.spdx.model.document import CreationInfo, Document
from spdx_tools.spdx.model.package import ExternalPackageRef, ExternalPackageRefCategory, Package
from spdx_tools.spdx.model.relationship import Relationship, RelationshipType
from spdx_tools.spdx.model.spdx_no_assertion import SpdxNoAssertion
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from dev.processes import StackError
from dev.release.source import Source

Json = dict[str, Any]
_DOCUMENT = "SPDXRef-DOCUMENT"


def of_cyclonedx(bom: Json, source: Source) -> Json:
    """Returns the list as SPDX. Raises StackError if SPDX's own validator finds an error in it."""
    root = bom["metadata"]["component"]
    packages = [_package(component) for component in (root, *bom.get("components", []))]
    created = CreationInfo(
        spdx_version="SPDX-2.3",
        spdx_id=_DOCUMENT,
        name=f"{root['name']}-{source.version.python}",
        document_namespace=f"https://spdx.org/spdxdocs/{root['name']}-{bom['serialNumber'].removeprefix('urn:uuid:')}",
        creators=[Actor(ActorType.TOOL, "make-release")],
        created=source.moment,
    )
    document = Document(created, packages=packages, relationships=_relationships(bom))
    errors = validate_full_spdx_document(document)
    if errors:
        raise StackError(f"the SPDX list is not valid: {errors[0].validation_message}")
    written: Json = DocumentConverter().convert(document)  # type: ignore[no-untyped-call]
    return written


def text_of(bom: Json) -> str:
    """Returns a list as the text of a file."""
    return json.dumps(bom, indent=2, sort_keys=True) + "\n"


def _package(component: Json) -> Package:
    purl = component.get("purl")
    return Package(
        spdx_id=_id(component["bom-ref"]),
        name=component["name"],
        version=component.get("version"),
        download_location=SpdxNoAssertion(),
        files_analyzed=False,
        license_declared=_licence(component.get("licenses", [])),
        license_concluded=SpdxNoAssertion(),
        copyright_text=SpdxNoAssertion(),
        checksums=[Checksum(ChecksumAlgorithm.SHA256, one["content"]) for one in component.get("hashes", [])],
        external_references=[ExternalPackageRef(ExternalPackageRefCategory.PACKAGE_MANAGER, "purl", purl)]
        if purl
        else [],
    )


def _licence(licences: list[Json]) -> LicenseExpression | SpdxNoAssertion:
    """Returns the declared licence as an SPDX expression; NOASSERTION where the package names none that SPDX knows."""
    known = [one.get("expression") or one["license"].get("id") for one in licences]
    text = " AND ".join(f"({one})" if " " in one else one for one in known if one)
    try:
        return spdx_licensing.parse(text, validate=True) if text else SpdxNoAssertion()
    except ExpressionError:
        return SpdxNoAssertion()


def _relationships(bom: Json) -> list[Relationship]:
    root = _id(bom["metadata"]["component"]["bom-ref"])
    known = {_id(component["bom-ref"]) for component in bom.get("components", [])}
    pairs = {
        (_id(one["ref"]), _id(needed)) for one in bom.get("dependencies", []) for needed in one.get("dependsOn", [])
    }
    needed = {target for _, target in pairs}
    # A package that nothing needs is still a part of what the list is about.
    pairs |= {(root, one) for one in known - needed}
    return [
        Relationship(_DOCUMENT, RelationshipType.DESCRIBES, root),
        *(Relationship(one, RelationshipType.DEPENDS_ON, other) for one, other in sorted(pairs)),
    ]


def _id(reference: str) -> str:
    return "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", reference)
