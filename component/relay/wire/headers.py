"""Stream headers: whether one is of XMPP 1.0 between servers."""

from __future__ import annotations

from component.relay import ns
from component.relay.wire.parser import Opened


def wrong_header(opened: Opened) -> tuple[str, str] | None:
    """Stream error (RFC 6120 §4.9.3) and text for a header that no server should send; None when it is all right."""
    namespace, _, name = opened.tag.rpartition("}")
    if namespace != f"{{{ns.STREAM}":
        return "invalid-namespace", "The root element is not a stream."
    if name != "stream":
        return "bad-format", "The root element is not a stream."
    if opened.content != ns.SERVER:
        return "invalid-namespace", f"The content namespace must be {ns.SERVER}."
    if not _is_version_1(opened.attributes.get("version", "")):
        return "unsupported-version", "XMPP 1.0 is needed: there is no TLS without it."
    return None


def _is_version_1(version: str) -> bool:
    major, _, minor = version.partition(".")
    return version.isascii() and major.isdigit() and minor.isdigit() and int(major[:9]) >= 1
