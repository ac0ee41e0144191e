"""The types of RFC 5070 that elements of several names share: text, software, extensions.

A class here has no name of its own; `Description`, `AdditionalData`, `OperatingSystem` and so on are named by the
class that holds them.
"""

from __future__ import annotations

from grid.iodef.fields import Class, attribute, child, content, mixed
from grid.iodef.types import URL, Foreign, Language
from grid.iodef.v1.enums import DType, Restriction
from grid.iodef.v1.names import iodef


@iodef(section="2.4")
class MLString(Class):
    """Text for people, in a language of its own where that differs from the document's (section 6).

    Here the attribute is called ``lang``; ``xml:lang`` came with IODEF 2.0.
    """

    value: str = content()
    lang: Language | None = attribute("lang", default=None)


@iodef(section="3.6")
class Extension(Class):
    """A value that the model has no place for, and log data: `AdditionalData`, and `RecordItem` (section 3.19.3).

    `content` keeps text and foreign XML in their order, exactly; `dtype` tells how to read it. The standard calls
    `dtype` required and gives "string" as its default in the same breath: it is required here, as in section 5.2.
    """

    content: tuple[str | Foreign, ...] = mixed()
    dtype: DType = attribute("dtype", implied="string")
    ext_dtype: str | None = attribute("ext-dtype", default=None)
    meaning: str | None = attribute("meaning", default=None)
    formatid: str | None = attribute("formatid", default=None)
    restriction: Restriction | None = attribute("restriction", default=None)


@iodef(section="3.17.1")
class Software(Class):
    """A version of a program, perhaps one configuration of it: `Application`, `OperatingSystem` (section 3.18)."""

    swid: str | None = attribute("swid", default=None)
    configid: str | None = attribute("configid", default=None)
    vendor: str | None = attribute("vendor", default=None)
    family: str | None = attribute("family", default=None)
    name: str | None = attribute("name", default=None)
    version: str | None = attribute("version", default=None)
    patch: str | None = attribute("patch", default=None)
    url: URL | None = child("URL", default=None)
