"""The relay's status for people: what is up, since when, how it is protected, and why the rest is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stanzagate.cli import output

FINGERPRINT_SHOWN = 16
LABEL = 14

_STATES = {
    "connected": "connected",
    "sending-only": "connected, sending only",
    "receiving-only": "connected, receiving only",
    "not-connected": "NOT CONNECTED",
}
_ATTACHMENT = {
    "attached": "attached",
    "connecting": "being attached",
    "waiting": "NOT ATTACHED",
    "refused": "NOT ATTACHED, the local server refuses",
    "stopped": "stopped",
}


def page(status: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> Iterator[str]:
    """The lines of a snapshot.

    :param before: an earlier snapshot; with it there are stanzas per second.
    """
    yield from _head(status)
    earlier = {partner["domain"]: partner for partner in (before or {}).get("partners", ())}
    seconds = status["time"] - before["time"] if before else 0.0
    for partner in sorted(status["partners"], key=lambda one: (not troubled(one), one["state"], one["domain"])):
        yield ""
        yield f"{partner['domain']}  {headline(partner, status['time'])}"
        yield from _partner(partner, status["time"])
        yield from _counters(partner, earlier.get(partner["domain"]), seconds)


def _head(status: Mapping[str, Any]) -> Iterator[str]:
    now, partners = status["time"], status["partners"]
    state = "is about to end" if status["draining"] else f"runs since {moment(status['since'], now)}"
    yield f"The relay {status['name']} ({status['version']}) {state}."
    yield _line("local domains", ", ".join(status["domains"]) or "none")
    yield _line("listens at", ", ".join(status["listeners"]) or "no address: only we connect")
    yield _line("policy", _policy(status["policy"]))
    up = sum(partner["state"] == "connected" for partner in partners)
    ill = sum(map(troubled, partners))
    yield _line("partners", f"{up} of {len(partners)} connected{f', {ill} in trouble' if ill else ''}")
    if status["unauthenticated"]:
        yield _line("strangers", f"{counted(status['unauthenticated'], 'connection')} not yet authenticated")


def _policy(policy: Mapping[str, Any]) -> str:
    guarded = ", ".join(policy["guarded_hosts"]) or "nothing"
    if not policy["reachable"]:
        left = "Nothing is let in before it has been heard of." if policy["epoch"] is None else f"Guarded: {guarded}."
        return f"NOT REACHABLE: {policy['reason'] or 'The admin API does not answer.'} {left}"
    if not policy["following"]:
        return f"reachable, but changes are not told: {policy['reason'] or 'the stream of changes broke.'}"
    return f"in force up to change {policy['epoch']}; guarded: {guarded}"


def troubled(partner: Mapping[str, Any]) -> bool:
    """Whether somebody should look at a partner: one that is idle, since nobody writes, is well."""
    waits_for_it = partner["direction"] == "inbound" and partner["state"] == "not-connected"
    detached = partner["attachment"]["state"] != "attached"
    return bool(waits_for_it or detached or partner["last_refusal"] or partner["queues"])


def headline(partner: Mapping[str, Any], now: float) -> str:
    """Whether a partner is connected, and since when."""
    if partner["state"] == "not-connected" and not troubled(partner):
        return "not connected, idle"
    text = _STATES.get(partner["state"], str(partner["state"]))
    if partner["streams"]:
        text += f" since {moment(min(stream['since'] for stream in partner['streams']), now)}"
    return text


def _partner(partner: Mapping[str, Any], now: float) -> Iterator[str]:
    if partner["why"]:
        yield _line("why", partner["why"])
    refusal = partner["last_refusal"]
    if refusal is not None:
        yield _line("last refusal", _refusal(refusal, partner["why"], now))
    if partner["next_attempt"] is not None:
        yield _line("next attempt", f"in {duration(max(0.0, partner['next_attempt'] - now))}")
    yield _line("local server", _attachment(partner["attachment"], now))
    yield _line("wanted", f"direction {partner['direction']}, bidi {partner['bidi']}")
    for stream in partner["streams"]:
        yield from _stream(stream, now)
    for queue in partner["queues"]:
        size = f"{counted(queue['stanzas'], 'stanza')}, {volume(queue['bytes'])}"
        yield _line(
            "queue", f"{queue['local']} → {queue['remote']}: {size}, waiting for {duration(queue['oldest_seconds'])}"
        )


def _refusal(refusal: Mapping[str, Any], why: str, now: float) -> str:
    who = "by us" if refusal["by_us"] else "not by us"
    place = " ".join(part for part in (refusal["local"], refusal["address"]) if part)
    text = f"{moment(refusal['time'], now)}, {who}, {refusal['kind']}{f' ({place})' if place else ''}"
    return text if refusal["reason"] == why else f"{text}: {refusal['reason']}"


def _attachment(attachment: Mapping[str, Any], now: float) -> str:
    text = f"{_ATTACHMENT.get(attachment['state'], attachment['state'])} since {moment(attachment['since'], now)}"
    if attachment["queued"]:
        text += f"; {counted(attachment['queued'], 'stanza')} for it waiting"
    return f"{text}: {attachment['reason']}" if attachment["reason"] else text


def _stream(stream: Mapping[str, Any], now: float) -> Iterator[str]:
    protection = " ".join(part for part in (stream["tls_version"], stream["cipher"]) if part) or "NO TLS YET"
    proven = "+".join(stream["authentication"]) or "not authenticated"
    yield _line(
        stream["role"], f"{stream['address']}  {proven}  {protection}  {'bidi' if stream['bidi'] else 'no bidi'}"
    )
    for pair in stream["pairs"]:
        arrow = {(True, True): "⇄", (True, False): "→", (False, True): "←"}.get(
            (pair["sends"], pair["receives"]), "-"
        )
        yield _line("", f"{pair['local']} {arrow} {pair['remote']}")
    waiting = f"  {volume(stream['waiting_bytes'])} not yet taken" if stream["waiting_bytes"] else ""
    yield _line(
        "",
        f"stream {stream['id']}  since {moment(stream['since'], now)}  idle {duration(stream['idle_seconds'])}  "
        f"sent {stream['sent']}  received {stream['received']}{waiting}",
    )
    if stream["fingerprint"]:
        yield _line("", f"certificate sha256 {stream['fingerprint'][:FINGERPRINT_SHOWN]}…")


def _counters(partner: Mapping[str, Any], before: Mapping[str, Any] | None, seconds: float) -> Iterator[str]:
    counters = partner["counters"]
    told = []
    for word in ("sent", "received"):
        text = f"{word} {counted(counters[word], 'stanza')} ({volume(counters[f'{word}_bytes'])})"
        if before is not None and seconds > 0:
            text += f" {max(0, counters[word] - before['counters'][word]) / seconds:.0f}/s"
        told.append(text)
    yield _line("counted", ", ".join(told))
    for name in ("bounced", "refused", "dropped", "decisions", "refusals", "noticed"):
        if counted_kinds := {kind: number for kind, number in counters[name].items() if number}:
            yield _line("", f"{name}: {', '.join(f'{number} {kind}' for kind, number in counted_kinds.items())}")


def change(partner: Mapping[str, Any], now: float) -> tuple[object, ...]:
    """What is worth a line when it changes: time, partner, state, how, and why not."""
    how = "; ".join(
        f"{stream['role']} {stream['address']} {'+'.join(stream['authentication']) or 'not authenticated'} "
        f"{stream['tls_version'] or 'no TLS'}{' bidi' if stream['bidi'] else ''}"
        for stream in partner["streams"]
    )
    attachment = partner["attachment"]
    local = "" if attachment["state"] == "attached" else f"local server {attachment['state']}: {attachment['reason']}"
    return output.when(now), partner["domain"], partner["state"], how, partner["why"], local


def policy_change(policy: Mapping[str, Any], now: float) -> tuple[object, ...]:
    """The same for the connection to the admin API."""
    state = "following" if policy["following"] else "reachable" if policy["reachable"] else "not-reachable"
    return output.when(now), "(policy)", state, policy["reason"]


def _line(label: str, text: str) -> str:
    return f"  {label.ljust(LABEL)}{text}"


def moment(time: float, now: float) -> str:
    """A point in time, and how long ago that is."""
    return f"{output.when(time)} ({duration(max(0.0, now - time))} ago)"


def duration(seconds: float) -> str:
    """Seconds as people say them, with two units at most."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if minutes < 60:
        return f"{minutes} min"
    return f"{hours} h {minutes % 60} min" if hours < 24 else f"{days} d {hours % 24} h"


def volume(size: int) -> str:
    """Bytes in the unit that fits."""
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} B"


def counted(number: int, noun: str) -> str:
    """A number and its noun."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
