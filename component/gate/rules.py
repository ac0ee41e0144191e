"""The model of the policy: rules and suspensions, how people write them, and where they are stored.

A requester is a bare JID, which matches every resource, or a full JID, which matches exactly that one (TR-069
Annex K, `ConnReqAllowedJabberIDs`). There are no wildcards: a domain alone means the server itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Column, Float, Integer, String, Table, UniqueConstraint

from component.base.errors import InputError
from component.base.jid import Jid, JidError, prepare
from component.base.store import metadata

EVERYTHING = "all"
GROUP_PREFIX = "group:"
RESERVED_IDS = frozenset({"gate", EVERYTHING})
LONGEST_COMMENT = 1000
_GROUP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}", re.ASCII)
_PLAIN_ID = re.compile(r"[A-Za-z0-9_.~+-]{1,255}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Effect(StrEnum):
    """What a rule does."""

    ALLOW = "allow"
    DENY = "deny"


class TargetKind(StrEnum):
    """What a rule is about."""

    DEVICE = "device"
    GROUP = "group"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Target:
    """What a rule is about.

    :ivar name: the prepared id of a device, the name of a group, or nothing.
    """

    kind: TargetKind
    name: str = ""

    def __str__(self) -> str:
        if self.kind is TargetKind.ALL:
            return EVERYTHING
        return f"{GROUP_PREFIX}{self.name}" if self.kind is TargetKind.GROUP else self.name


@dataclass(frozen=True, slots=True)
class Rule:
    """Somebody may, or may not, wake something.

    :ivar requester: bare (matches every resource) or full (matches exactly).
    :ivar expires: Unix time in seconds from which on the rule does not count, or None.
    """

    id: int
    effect: Effect
    requester: Jid
    target: Target
    expires: float | None = None
    comment: str = ""
    created: float = 0.0
    actor: str = ""

    def __str__(self) -> str:
        return f"{self.effect} {self.requester} to {self.target}"


@dataclass(frozen=True, slots=True)
class Suspension:
    """A requester, bare or full, that may wake nothing, whatever the rules say."""

    id: int
    requester: Jid
    expires: float | None = None
    comment: str = ""
    created: float = 0.0
    actor: str = ""


rule_table = Table(
    "rule",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("effect", String(8), nullable=False),
    Column("requester", String(3071), nullable=False),
    Column("target", String(1100), nullable=False),
    Column("expires", Float),
    Column("comment", String(LONGEST_COMMENT), nullable=False),
    Column("created", Float, nullable=False),
    Column("actor", String(255), nullable=False),
    UniqueConstraint("requester", "target", "effect"),
    sqlite_autoincrement=True,  # an id that the audit record names is never given to another rule
)

suspension_table = Table(
    "suspension",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("requester", String(3071), nullable=False, unique=True),
    Column("expires", Float),
    Column("comment", String(LONGEST_COMMENT), nullable=False),
    Column("created", Float, nullable=False),
    Column("actor", String(255), nullable=False),
    sqlite_autoincrement=True,
)

policy_state_table = Table(
    "policy_state",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # there is one row: 1
    Column("epoch", Integer, nullable=False),
    Column("generation", Integer, nullable=False),  # the newest published generation of devices
)


def requester_from(text: str) -> Jid:
    """A requester as people write it.

    :raises JidError: when it is not a JID, or `all`-like wildcards are tried.
    """
    if "*" in text.partition("/")[0]:
        raise JidError(
            f"{shown(text)} is not a requester: there are no wildcards.",
            hint="Write a bare JID, which matches every resource, or a full JID.",
        )
    return prepare(text)


def device_key(device_id: str) -> str:
    """The prepared form of a device's id, in which ids are compared.

    :raises InputError: when the id is reserved or cannot be the local part of a JID (RFC 6122 §2.3).
    """
    # To plain ASCII, nodeprep does nothing else.
    key = device_id.lower() if _PLAIN_ID.fullmatch(device_id) else _nodeprepared(device_id)
    if key in RESERVED_IDS:
        why = "it is the gate's own name" if key == "gate" else "it means every device"
        raise InputError(f"The device id {shown(device_id)} is reserved: {why}.", hint="Choose another id.")
    return key


def device_jid(text: str) -> Jid:
    """The full JID of a device.

    :raises InputError: when it is not a JID, or has no local part or no resource.
    """
    jid = prepare(text)
    if not jid.local or not jid.resource:
        missing = "local part" if not jid.local else "resource"
        raise InputError(f"{shown(text)} has no {missing}.", hint="A device has a full JID: local@domain/resource.")
    return jid


def group_name(text: str) -> str:
    """A group's name, checked.

    :raises InputError: when it has characters that a group's name cannot have.
    """
    if not _GROUP.fullmatch(text):
        raise InputError(
            f"{shown(text)} is not a group name.",
            hint="Use 1 to 64 of A-Z a-z 0-9 _ . + - and begin with a letter, a digit or _.",
        )
    return text


def checked_comment(text: str) -> str:
    """A comment without control characters.

    :raises InputError: when it is too long or has a control character.
    """
    if len(text) > LONGEST_COMMENT:
        raise InputError(f"The comment has {len(text)} characters.", hint=f"Use at most {LONGEST_COMMENT}.")
    if _CONTROL.search(text) or not _encodable(text):
        raise InputError("The comment has control characters.", hint="Write it as one line of text.")
    return text


def stored_target(text: str) -> Target:
    """The target from its stored form, the opposite of ``str(target)``."""
    if text == EVERYTHING:
        return Target(TargetKind.ALL)
    if text.startswith(GROUP_PREFIX):
        return Target(TargetKind.GROUP, text[len(GROUP_PREFIX) :])
    return Target(TargetKind.DEVICE, text)


def stored_jid(text: str) -> Jid:
    """A prepared JID from its stored form; what is stored was prepared."""
    bare, _, resource = text.partition("/")
    return Jid(bare, resource)


def counted(count: int, noun: str) -> str:
    """``1 rule``, ``2 rules``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def shown(text: str) -> str:
    """Foreign text for an error message: control characters escaped, not too long."""
    quoted = ascii(text)
    return quoted if len(quoted) <= 80 else f"{quoted[:77]}…"


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _nodeprepared(device_id: str) -> str:
    try:
        jid = prepare(f"{device_id}@x")
        key = jid.local
        possible = jid.bare == f"{key}@x" and not jid.resource and key and prepare(f"{key}@x") == jid
    except JidError:
        possible = False
    if not possible or "@" in device_id:
        raise InputError(
            f"{shown(device_id)} cannot be a device id: it must be possible as the local part of a JID.",
            hint="""Use no white space, control characters or any of " & ' / : < > @ and at most 1023 bytes.""",
        )
    return key
