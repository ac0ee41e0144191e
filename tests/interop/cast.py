"""Who plays in a sandbox, and what a request may come to."""

from __future__ import annotations

from tests.interop.clients import Answer

HOST, GRID = "cpe.test", "grid.test"
GATE = "cr.cpe.test"
ADDRESS = f"gate@{GATE}/gate"
"""As whom the gate asks a device."""
ACS1, ACS2, ROGUE = "acs1@acs.test", "acs2@acs.test", "rogue@acs.test"
CPE1, CPE2 = f"cpe1@{HOST}", f"cpe2@{HOST}"
TARGET, TARGET2 = f"{CPE1}/tr069", f"{CPE2}/tr069"

PARTNER, ROOMS, OTHER, UNSIGNED = "partner.test", "rooms.partner.test", "other.test", "unsigned.test"
"""Domains of other servers that a relay may attach to the sandbox."""
WAYS = tuple(
    f"{opener}-{authentication}-{bidi}.test"
    for opener in ("relay", "partner")
    for authentication in ("external", "dialback")
    for bidi in ("bidi", "plain")
)
"""One such domain for each way in which a stream can come about: who opens it, how servers are authenticated, whether
it carries stanzas both ways."""
ERLANG = ("external.erlang.test", "dialback.erlang.test")
"""Those of an ejabberd."""
RAW = ("external.raw.test", "dialback.raw.test", "ignore.raw.test", "outbound.raw.test")
"""Those whose every byte a test writes: how the relay is told to treat each is in its name."""
ONE, TWO, BRIEF, STILL, LEFT, RIGHT = ATTACKERS = tuple(
    f"{name}.attack.test" for name in ("one", "two", "brief", "still", "left", "right")
)
"""Those of relays that are attacked."""
PARTNERS = (PARTNER, ROOMS, OTHER, UNSIGNED, *WAYS, *ERLANG, *RAW, *ATTACKERS)

PASSED = ("", "")
FORBIDDEN = ("auth", "forbidden")
BAD_REQUEST = ("modify", "bad-request")
OFFLINE = ("cancel", "service-unavailable")
AWAY = ("wait", "remote-server-timeout")
UNDECIDED = ("wait", "internal-server-error")
OVERLOAD = ("wait", "resource-constraint")


def outcome(answer: Answer) -> tuple[str, str]:
    """Type and condition of an error; two empty strings for a result."""
    return answer.error_type, answer.condition
