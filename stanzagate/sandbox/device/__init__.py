"""A reference TR-069 device: an Annex K client, and a recording CWMP endpoint for its sessions.

``python -m stanzagate.sandbox.device --config FILE`` runs many in one process; tests use `ReferenceDevice`.
"""

from stanzagate.sandbox.device.allowed import AllowedList
from stanzagate.sandbox.device.device import ReferenceDevice
from stanzagate.sandbox.device.quirks import Quirk
from stanzagate.sandbox.device.recorder import Recorder
from stanzagate.sandbox.device.settings import Connection, DeviceSettings, InSession, Retry

__all__ = [
    "AllowedList",
    "Connection",
    "DeviceSettings",
    "InSession",
    "Quirk",
    "Recorder",
    "ReferenceDevice",
    "Retry",
]
