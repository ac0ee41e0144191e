"""Everything but stanzas and errors that we write on a server-to-server stream, each with its clause."""

from __future__ import annotations

from component.relay import ns
from component.relay.wire.dialback import Kind
from component.relay.wire.serial import quote

END = b"</stream:stream>"

STARTTLS_FEATURE = f"<starttls xmlns='{ns.TLS}'><required/></starttls>".encode()
EXTERNAL_FEATURE = f"<mechanisms xmlns='{ns.SASL}'><mechanism>EXTERNAL</mechanism></mechanisms>".encode()
BIDI_FEATURE = f"<bidi xmlns='{ns.BIDI_FEATURE}'/>".encode()
LEGACY_BIDI_FEATURE = f"<bidi xmlns='{ns.BIDI}'/>".encode()
DIALBACK_FEATURE = f"<dialback xmlns='{ns.DIALBACK_FEATURE}'><errors/></dialback>".encode()
SM_FEATURE = f"<sm xmlns='{ns.SM}'/>".encode()

STARTTLS = f"<starttls xmlns='{ns.TLS}'/>".encode()
PROCEED = f"<proceed xmlns='{ns.TLS}'/>".encode()
BIDI = f"<bidi xmlns='{ns.BIDI}'/>".encode()
SASL_SUCCESS = f"<success xmlns='{ns.SASL}'/>".encode()

SM_ENABLE = f"<enable xmlns='{ns.SM}'/>".encode()
SM_ENABLED = f"<enabled xmlns='{ns.SM}'/>".encode()
SM_REQUEST = f"<r xmlns='{ns.SM}'/>".encode()


def header(local: str, remote: str, *, stream_id: str = "") -> bytes:
    """A stream header (RFC 6120 §4.7); what is empty is left out, but for the name of a receiver (§4.9.1.3)."""
    values = (("from", local), ("to", remote), ("id", stream_id))
    names = "".join(f" {name}='{quote(value)}'" for name, value in values if value or (name == "from" and stream_id))
    return (
        f"<?xml version='1.0'?><stream:stream xmlns='{ns.SERVER}' xmlns:stream='{ns.STREAM}'"
        f" xmlns:db='{ns.DIALBACK}'{names} version='1.0' xml:lang='en'>"
    ).encode()


def features(offered: bytes) -> bytes:
    """What we offer on a stream (RFC 6120 §4.3.2)."""
    return b"<stream:features>" + offered + b"</stream:features>"


def sasl_auth(initial_response: str) -> bytes:
    """Begin EXTERNAL.

    :param initial_response: Base64 of our domain (XEP-0178 §3).
    """
    return f"<auth xmlns='{ns.SASL}' mechanism='EXTERNAL'>{initial_response}</auth>".encode()


def sasl_failure(condition: str) -> bytes:
    """Refuse (RFC 6120 §6.5)."""
    return f"<failure xmlns='{ns.SASL}'><{condition}/></failure>".encode()


def sm_answer(handled: int) -> bytes:
    """Acknowledge (XEP-0198 §4)."""
    return f"<a xmlns='{ns.SM}' h='{handled}'/>".encode()


def sm_failed(condition: str) -> bytes:
    """Refuse to acknowledge, or to resume (XEP-0198 §6)."""
    return f"<failed xmlns='{ns.SM}'><{condition} xmlns='{ns.STANZA_ERRORS}'/></failed>".encode()


def sm_too_high(handled: str, sent: int) -> bytes:
    """What goes into the stream error when more is acknowledged than was sent (XEP-0198 §6).

    :param handled: as it came.
    """
    return f"<handled-count-too-high xmlns='{ns.SM}' h='{quote(handled[:20])}' send-count='{sent}'/>".encode()


def db_result(local: str, remote: str, key: str) -> bytes:
    """Ask to send for a pair (XEP-0220 §2.1.1)."""
    return f"<db:result from='{quote(local)}' to='{quote(remote)}'>{key}</db:result>".encode()


def db_verify(local: str, remote: str, stream_id: str, key: str) -> bytes:
    """Ask whether a key is the remote domain's own (XEP-0220 §2.1.2).

    :param key: as it came from somebody who may be anybody.
    """
    names = f"from='{quote(local)}' to='{quote(remote)}' id='{quote(stream_id)}'"
    return f"<db:verify {names}>{quote(key)}</db:verify>".encode()


def db_answer(kind: Kind, local: str, remote: str, outcome: str, stream_id: str = "") -> bytes:
    """Answer a dialback request: ``valid`` or ``invalid``."""
    return f"<db:{kind} {_answer(local, remote, stream_id)} type='{outcome}'/>".encode()


def db_error(kind: Kind, local: str, remote: str, condition: str, stream_id: str = "") -> bytes:
    """Say why a dialback request cannot be answered (XEP-0220 §2.4)."""
    return (
        f"<db:{kind} {_answer(local, remote, stream_id)} type='error'><error type='cancel'>"
        f"<{condition} xmlns='{ns.STANZA_ERRORS}'/></error></db:{kind}>"
    ).encode()


def _answer(local: str, remote: str, stream_id: str) -> str:
    names = f"from='{quote(local)}' to='{quote(remote)}'"
    return f"{names} id='{quote(stream_id)}'" if stream_id else names
