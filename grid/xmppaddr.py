"""The name in a node's certificate: xmppAddr (RFC 6120 §13.7.1.4)."""

from __future__ import annotations

from cryptography import x509
from cryptography.x509.oid import ObjectIdentifier

from component.base.jid import JidError, prepare

XMPP_ADDR = ObjectIdentifier("1.3.6.1.5.5.7.8.5")
"""id-on-xmppAddr, a UTF8String (RFC 6120 §13.7.1.4)."""

_UTF8_STRING = 0x0C


def addresses(certificate: x509.Certificate) -> list[str]:
    """The bare JIDs that a certificate carries as xmppAddr; what is not an account's is left out.

    :raises ValueError: the extension cannot be read.
    """
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    found = []
    for name in names.get_values_for_type(x509.OtherName):
        if name.type_id == XMPP_ADDR:
            try:
                jid = prepare(_utf8(name.value))
            except (JidError, ValueError):
                continue
            if jid.local and not jid.resource:
                found.append(jid.bare)
    return found


def _utf8(der: bytes) -> str:
    """The text of a DER UTF8String that fills all of `der`."""
    if len(der) < 2 or der[0] != _UTF8_STRING:
        raise ValueError("not a UTF8String")
    size, begin = der[1], 2
    if size & 0x80:
        begin += size & 0x7F
        size = int.from_bytes(der[2:begin], "big")
    if len(der) != begin + size:
        raise ValueError("of another length than it says")
    return der[begin:].decode()
