"""Long lists of observables, and the phases of an attack (RFC 7970, sections 3.29.3.1 and 3.29.8)."""

from __future__ import annotations

from grid.iodef.fields import Class, attribute, child, children
from grid.iodef.types import URL
from grid.iodef.v2.common import Extension, MLString
from grid.iodef.v2.enums_technical import BulkObservableType
from grid.iodef.v2.file import Hash
from grid.iodef.v2.names import iodef


@iodef("BulkObservableFormat", section="3.29.3.1.1", any_of=("Hash", "AdditionalData"))
class BulkObservableFormat(Class):
    """How the lines of a bulk list are to be read; for hashes, a `hash` that shows their algorithm."""

    hash: Hash | None = child("Hash", default=None)
    additional_data: tuple[Extension, ...] = children("AdditionalData", default=())


@iodef("BulkObservable", section="3.29.3.1")
class BulkObservable(Class):
    """Many observables of one `type` in one text, one a line."""

    type: BulkObservableType | None = attribute("type", default=None)
    ext_type: str | None = attribute("ext-type", default=None)
    bulk_observable_format: BulkObservableFormat | None = child("BulkObservableFormat", default=None)
    bulk_observable_list: str = child("BulkObservableList")
    additional_data: tuple[Extension, ...] = children("AdditionalData", default=())


@iodef("AttackPhase", section="3.29.8", any_of=("AttackPhaseID", "URL", "Description", "AdditionalData"))
class AttackPhase(Class):
    """A phase in the life of an attack."""

    attack_phase_id: tuple[str, ...] = children("AttackPhaseID", default=())
    url: tuple[URL, ...] = children("URL", default=())
    description: tuple[MLString, ...] = children("Description", default=())
    additional_data: tuple[Extension, ...] = children("AdditionalData", default=())
