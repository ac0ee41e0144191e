"""Files with their hashes and signatures, and certificates (RFC 7970, sections 3.24 to 3.27).

Elements of XML Signature are kept as they are (`Foreign`).
"""

from __future__ import annotations

from grid.iodef.fields import Class, attribute, child, children
from grid.iodef.types import ID, URL, Foreign
from grid.iodef.v2.common import Extension, MLString, Software
from grid.iodef.v2.enums import Restriction
from grid.iodef.v2.enums_technical import HashScope
from grid.iodef.v2.names import iodef


@iodef("Hash", section="3.26.1")
class Hash(Class):
    """A cryptographic hash: algorithm, value, and how the object was brought into canonical form before."""

    digest_method: Foreign = child("ds:DigestMethod")
    digest_value: Foreign = child("ds:DigestValue")
    canonicalization_method: Foreign | None = child("ds:CanonicalizationMethod", default=None)
    application: Software | None = child("Application", default=None)


@iodef("FuzzyHash", section="3.26.2")
class FuzzyHash(Class):
    """A hash that stays similar for similar objects, and the program that computed it."""

    fuzzy_hash_value: tuple[Extension, ...] = children("FuzzyHashValue")
    application: Software | None = child("Application", default=None)
    additional_data: tuple[Extension, ...] = children("AdditionalData", default=())


@iodef("HashData", section="3.26", any_of=("Hash", "FuzzyHash"))
class HashData(Class):
    """Hashes of one object, or of the part of it that `scope` and `hash_target_id` tell."""

    scope: HashScope = attribute("scope")
    # ERRATUM: figure 54 leaves ext-scope out; the list of attributes has it.
    ext_scope: str | None = attribute("ext-scope", default=None)
    hash_target_id: str | None = child("HashTargetID", default=None)
    hash: tuple[Hash, ...] = children("Hash", default=())
    fuzzy_hash: tuple[FuzzyHash, ...] = children("FuzzyHash", default=())


@iodef("SignatureData", section="3.27")
class SignatureData(Class):
    """Digital signatures of one object."""

    signature: tuple[Foreign, ...] = children("ds:Signature")


@iodef("File", section="3.25.1")
class File(Class):
    """A file: its name, size in octets, media type, hashes, signatures and further properties."""

    observable_id: ID | None = attribute("observable-id", default=None)
    file_name: str | None = child("FileName", default=None)
    file_size: int | None = child("FileSize", default=None)
    file_type: str | None = child("FileType", default=None)
    url: tuple[URL, ...] = children("URL", default=())
    hash_data: HashData | None = child("HashData", default=None)
    signature_data: SignatureData | None = child("SignatureData", default=None)
    associated_software: Software | None = child("AssociatedSoftware", default=None)
    file_properties: tuple[Extension, ...] = children("FileProperties", default=())


@iodef("FileData", section="3.25")
class FileData(Class):
    """One or more files."""

    restriction: Restriction | None = attribute("restriction", default=None)
    ext_restriction: str | None = attribute("ext-restriction", default=None)
    observable_id: ID | None = attribute("observable-id", default=None)
    file: tuple[File, ...] = children("File")


@iodef("Certificate", section="3.24.1")
class Certificate(Class):
    """A certificate of X.509, or a chain of them."""

    observable_id: ID | None = attribute("observable-id", default=None)
    x509_data: Foreign = child("ds:X509Data")
    description: tuple[MLString, ...] = children("Description", default=())


@iodef("CertificateData", section="3.24")
class CertificateData(Class):
    """One or more certificates."""

    restriction: Restriction | None = attribute("restriction", default=None)
    ext_restriction: str | None = attribute("ext-restriction", default=None)
    observable_id: ID | None = attribute("observable-id", default=None)
    certificate: tuple[Certificate, ...] = children("Certificate")
