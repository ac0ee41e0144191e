"""Logs and other evidence (RFC 5070, section 3.19)."""

from __future__ import annotations

from grid.iodef.fields import Class, attribute, child, children, content
from grid.iodef.types import DateTime
from grid.iodef.v1.common import Extension, MLString, Software
from grid.iodef.v1.enums import OffsetUnit, RecordPatternType, Restriction
from grid.iodef.v1.names import iodef


@iodef("RecordPattern", section="3.19.2")
class RecordPattern(Class):
    """What to look for in the data of a record, after `offset` units, and `instance` times.

    The standard calls `type` required and gives it a default: it is required here.
    """

    value: str = content()
    type: RecordPatternType = attribute("type", implied="regex")
    ext_type: str | None = attribute("ext-type", default=None)
    offset: int | None = attribute("offset", default=None)
    offsetunit: OffsetUnit | None = attribute("offsetunit", default=None, implied="line")
    ext_offsetunit: str | None = attribute("ext-offsetunit", default=None)
    instance: int | None = attribute("instance", default=None)


@iodef("RecordData", section="3.19.1")
class RecordData(Class):
    """What one sensor recorded, and how to read it; `application` is the sensor."""

    restriction: Restriction | None = attribute("restriction", default=None)
    date_time: DateTime | None = child("DateTime", default=None)
    description: tuple[MLString, ...] = children("Description", default=())
    application: Software | None = child("Application", default=None)
    record_pattern: tuple[RecordPattern, ...] = children("RecordPattern", default=())
    record_item: tuple[Extension, ...] = children("RecordItem")
    additional_data: Extension | None = child("AdditionalData", default=None)


@iodef("Record", section="3.19")
class Record(Class):
    """The evidence of an event, sensor by sensor."""

    restriction: Restriction | None = attribute("restriction", default=None)
    record_data: tuple[RecordData, ...] = children("RecordData")
