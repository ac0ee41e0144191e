"""Logs and other records that prove an event, and the Windows registry (RFC 7970, sections 3.22 and 3.23)."""

from __future__ import annotations

from grid.iodef.fields import Class, attribute, child, children, content
from grid.iodef.types import ID, URL, DateTime
from grid.iodef.v2.common import Extension, MLString, Software
from grid.iodef.v2.enums import Restriction
from grid.iodef.v2.enums_technical import OffsetUnit, PatternType, RegistryAction
from grid.iodef.v2.file import CertificateData, FileData
from grid.iodef.v2.names import iodef


@iodef("RecordPattern", section="3.22.2")
class RecordPattern(Class):
    """A pattern that finds the part of a record that matters; `offset` tells where to begin, `instance` how often."""

    value: str = content()
    type: PatternType = attribute("type", implied="regex")
    ext_type: str | None = attribute("ext-type", default=None)
    offset: int | None = attribute("offset", default=None)
    offsetunit: OffsetUnit | None = attribute("offsetunit", default=None, implied="line")
    ext_offsetunit: str | None = attribute("ext-offsetunit", default=None)
    instance: int | None = attribute("instance", default=None)


@iodef("Key", section="3.23.1")
class Key(Class):
    """A key of the Windows registry, its value, and what was done to it."""

    registryaction: RegistryAction | None = attribute("registryaction", default=None)
    ext_registryaction: str | None = attribute("ext-registryaction", default=None)
    observable_id: ID | None = attribute("observable-id", default=None)
    key_name: str = child("KeyName")
    key_value: str | None = child("KeyValue", default=None)


@iodef("WindowsRegistryKeysModified", section="3.23")
class WindowsRegistryKeysModified(Class):
    """Keys of the Windows registry that somebody changed."""

    observable_id: ID | None = attribute("observable-id", default=None)
    key: tuple[Key, ...] = children("Key")


@iodef(
    "RecordData",
    section="3.22.1",
    any_of=(
        "RecordItem",
        "URL",
        "FileData",
        "WindowsRegistryKeysModified",
        "CertificateData",
        "AdditionalData",
    ),
)
class RecordData(Class):
    """What one tool recorded, or where that can be found, with notes on it."""

    restriction: Restriction | None = attribute("restriction", default=None)
    ext_restriction: str | None = attribute("ext-restriction", default=None)
    observable_id: ID | None = attribute("observable-id", default=None)
    date_time: DateTime | None = child("DateTime", default=None)
    description: tuple[MLString, ...] = children("Description", default=())
    application: Software | None = child("Application", default=None)
    record_pattern: tuple[RecordPattern, ...] = children("RecordPattern", default=())
    record_item: tuple[Extension, ...] = children("RecordItem", default=())
    url: tuple[URL, ...] = children("URL", default=())
    # ERRATUM: the prose has one at most; figure 46 has several, as has RFC 8727, whose documents must fit in here.
    file_data: tuple[FileData, ...] = children("FileData", default=())
    windows_registry_keys_modified: tuple[WindowsRegistryKeysModified, ...] = children(
        "WindowsRegistryKeysModified", default=()
    )
    certificate_data: tuple[CertificateData, ...] = children("CertificateData", default=())
    additional_data: tuple[Extension, ...] = children("AdditionalData", default=())


@iodef("Record", section="3.22")
class Record(Class):
    """The records that support what is told of an event."""

    restriction: Restriction | None = attribute("restriction", default=None)
    ext_restriction: str | None = attribute("ext-restriction", default=None)
    record_data: tuple[RecordData, ...] = children("RecordData")
