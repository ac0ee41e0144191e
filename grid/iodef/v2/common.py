"""The types of RFC 7970, section 2, that elements of several names share: text, software, extensions.

A class here gives its own name only where the standard has an element of that name; `Description`, `AdditionalData`,
`OperatingSystem` and so on are named by the class that holds them.
"""

from __future__ import annotations

from grid.iodef.fields import Class, attribute, child, children, content, mixed
from grid.iodef.types import ID, URL, Foreign, Language
from grid.iodef.v2.enums import DType, Restriction, SoftwareDType, SpecName
from grid.iodef.v2.names import iodef


@iodef(section="2.4")
class MLString(Class):
    """Text for people, in a language of its own where that differs from the document's.

    Neighbours that share a `translation_id` say the same in different languages (section 6).
    """

    value: str = content()
    lang: Language | None = attribute("xml:lang", default=None)
    translation_id: str | None = attribute("translation-id", default=None)


@iodef("SoftwareReference", section="2.15.1")
class SoftwareReference(Class):
    """Names one version of a program in the notation that `spec_name` tells; "custom" needs a `dtype`."""

    content: tuple[str | Foreign, ...] = mixed()
    spec_name: SpecName = attribute("spec-name")
    ext_spec_name: str | None = attribute("ext-spec-name", default=None)
    dtype: SoftwareDType | None = attribute("dtype", default=None, implied="string")
    ext_dtype: str | None = attribute("ext-dtype", default=None)


@iodef(section="2.15", any_of=("SoftwareReference", "URL", "Description"))
class Software(Class):
    """A version of a program, by reference, by address or in words: `Application`, `OperatingSystem` and others."""

    software_reference: SoftwareReference | None = child("SoftwareReference", default=None)
    url: tuple[URL, ...] = children("URL", default=())
    description: tuple[MLString, ...] = children("Description", default=())


@iodef(section="2.16")
class Extension(Class):
    """A value that the model has no place for: `AdditionalData`, `RecordItem`, `RelatedDNS` and others.

    `content` keeps text and foreign XML in their order, exactly; `dtype` tells how to read it. The standard calls
    `dtype` required and gives "string" as its default in the same breath: it is required here, as in section 5.2.
    """

    content: tuple[str | Foreign, ...] = mixed()
    name: str | None = attribute("name", default=None)
    dtype: DType = attribute("dtype")
    ext_dtype: str | None = attribute("ext-dtype", default=None)
    meaning: str | None = attribute("meaning", default=None)
    formatid: str | None = attribute("formatid", default=None)
    restriction: Restriction | None = attribute("restriction", default=None)
    ext_restriction: str | None = attribute("ext-restriction", default=None)
    observable_id: ID | None = attribute("observable-id", default=None)
