"""The configuration section ``relay:``."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, WrapValidator, field_validator, model_validator

from component.base.settings import (
    Address,
    AddressSetting,
    Domain,
    Duration,
    PathSetting,
    Secret,
    Section,
    SizeSetting,
)
from component.relay.partnersettings import PartnerSettings, different, fail, partner_remarks, real_port
from component.relay.wire.policy import Direction, Federation, Limits

_WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104  # compared with, not bound


def _different_domains(value: Any, handler: Any) -> Any:
    prepared = handler(value)
    if len(prepared) < len(value):  # the keys of a mapping are different; here some of them became equal
        raise ValueError("two of the names are the same domain when they are prepared")
    return prepared


Listeners = Annotated[tuple[AddressSetting, ...], AfterValidator(different)]


class LocalDomain(Section):
    """One of our own domains: what the relay shows to partners for it.

    :ivar certificate: PEM: the certificate, then what leads to the partner's trusted root.
    :ivar key: its key, PEM, without a password.
    """

    certificate: PathSetting
    key: PathSetting


class LocalServer(Section):
    """The XMPP server beside us. Component streams are plain text: loopback, or a tunnel of the operator's."""

    host: str = "127.0.0.1"


class PolicySource(Section):
    """The admin API of ``serve``, which is asked for decisions and tells of changes."""

    socket: PathSetting | None = None
    url: str | None = None
    token: Secret | None = None

    @field_validator("url")
    @classmethod
    def _not_in_the_clear(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            parts = urlsplit(value)
            host = parts.hostname or ""
        except ValueError:
            parts, host = urlsplit(""), ""
        if parts.scheme not in {"http", "https"} or not host:
            raise ValueError(f"{value!r} is not a URL; write https://HOST:PORT")
        if parts.username is not None or parts.password is not None:
            raise ValueError("a URL must hold no password; give the token under token:")
        if parts.scheme == "http" and not _loopback(host):
            raise ValueError(f"{value!r} would send the token in the clear; write https, or http on loopback")
        return value

    @model_validator(mode="after")
    def _one_source(self) -> PolicySource:
        if (self.socket is None) == (self.url is None):
            raise ValueError("name exactly one: {socket: PATH} or {url: URL, token: {file: PATH}}")
        if (self.url is None) != (self.token is None):
            raise ValueError("token belongs to url: the socket's file permissions need none, and a URL needs one")
        return self


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class RelayLimits(Section):
    """What peers may use, and how long the relay waits.

    :ivar connections: open at once, those of partners and of strangers.
    :ivar per_address: open at once from one IP address.
    :ivar stanza_bytes: of one stanza of an authenticated peer (RFC 6120 §13.12 asks for 10,000 at least).
    :ivar queue_stanzas: that wait for a stream or an attachment, for each of them.
    :ivar queue_bytes: likewise.
    :ivar queue_time: after this time what waits is bounced.
    :ivar idle: without a stanza in either direction, after which a stream is closed.
    :ivar keepalive: of silence, after which white space is sent.
    """

    connections: int = Field(default=1000, ge=1)
    per_address: int = Field(default=50, ge=1)
    stanza_bytes: Annotated[SizeSetting, Field(ge=10_000)] = 512 << 10
    queue_stanzas: int = Field(default=1000, ge=1)
    queue_bytes: Annotated[SizeSetting, Field(ge=10_000)] = 16 << 20
    queue_time: Duration = 60.0
    idle: Duration = 14 * 60.0
    keepalive: Duration = 5 * 60.0
    connect_timeout: Duration = 90.0
    negotiation_timeout: Duration = 60.0
    close_timeout: Duration = 5.0

    @model_validator(mode="after")
    def _room_for_one(self) -> RelayLimits:
        if self.queue_bytes < self.stanza_bytes:
            fail("the queue must have room for one stanza of stanza_bytes", "queue_bytes")
        return self


class Remark(NamedTuple):
    """Something that is allowed and probably not meant.

    :ivar location: keys from ``relay`` downwards.
    :ivar text: one sentence.
    """

    location: tuple[str, ...]
    text: str


class RelaySettings(Section):
    """The relay.

    :ivar listen: where partners connect and negotiate TLS with STARTTLS; none when we only connect.
    :ivar direct_tls: where connections begin with TLS (XEP-0368).
    :ivar domains: our own domains, prepared.
    :ivar trust: certificates of the authorities whose partners are believed, PEM.
    :ivar status: unix socket that ``relay status`` reads.
    :ivar metrics: where ``/metrics`` is served over TCP.
    :ivar dialback_secret: of the dialback keys; None for one drawn at each start.
    :ivar pass_through: the server's own port, where connections of those who are no partners are passed on as bytes.
    :ivar nameservers: asked instead of the system's.
    :ivar partners: by prepared domain.
    """

    listen: Listeners = ()
    direct_tls: Listeners = ()
    domains: Annotated[dict[Domain, LocalDomain], WrapValidator(_different_domains), Field(min_length=1)]
    trust: PathSetting
    server: LocalServer = LocalServer()
    status: PathSetting = Path("relay.sock")
    metrics: AddressSetting | None = None
    policy: PolicySource
    dialback_secret: Secret | None = None
    pass_through: AddressSetting | None = None
    nameservers: Listeners = ()
    limits: RelayLimits = RelayLimits()
    partners: Annotated[dict[Domain, PartnerSettings], WrapValidator(_different_domains)]

    @field_validator("nameservers")
    @classmethod
    def _by_number(cls, value: tuple[Address, ...]) -> tuple[Address, ...]:
        for server in value:
            try:
                ipaddress.ip_address(server.host)
            except ValueError:
                raise ValueError(f"{server.host!r} must be an IP address: nobody could look up its name") from None
            real_port(server)
        return value

    @field_validator("pass_through")
    @classmethod
    def _some_port(cls, value: Address | None) -> Address | None:
        return real_port(value)

    @model_validator(mode="after")
    def _listeners_differ(self) -> RelaySettings:
        for address in self.direct_tls:
            if address in self.listen and address.port:
                fail(f"{address} is under listen, too; a port begins with TLS or does not", "direct_tls")
        for address in (*self.listen, *self.direct_tls):
            if self.pass_through is not None and _same_place(address, self.pass_through):
                fail(f"the relay itself listens at {address}; name the server's own port", "pass_through")
        return self

    @model_validator(mode="after")
    def _partners_fit(self) -> RelaySettings:
        for name, partner in self.partners.items():
            if name in self.domains:
                fail("a partner's domain cannot be one of our own under domains", "partners", name)
            if partner.direction is Direction.INBOUND and not (self.listen or self.direct_tls):
                fail("nobody could connect: listen is missing", "partners", name, "direction")
            for domain in partner.domains or ():
                if domain not in self.domains:
                    fail(f"{domain} is not one of relay.domains", "partners", name, "domains")
        return self

    def remarks(self) -> list[Remark]:
        """What is allowed and probably not meant, in the order of the file's keys."""
        return list(_remarks(self))


def _same_place(listening: Address, target: Address) -> bool:
    hosts_meet = listening.host == target.host or (listening.host in _WILDCARDS and _loopback(target.host))
    return hosts_meet and listening.port == target.port


def _remarks(settings: RelaySettings) -> Iterator[Remark]:
    if settings.pass_through is not None and not settings.listen:
        yield Remark(("relay", "pass_through"), "Nobody can be passed on: listen is missing.")
    if not settings.partners:
        yield Remark(("relay", "partners"), "There is no partner, so nothing is relayed.")
    for name, partner in settings.partners.items():
        for key, text in partner_remarks(partner):
            yield Remark(("relay", "partners", name, key), text)


def federation(settings: RelaySettings, secret: str) -> Federation:
    """What the S2S machines must know of the configuration.

    :param secret: of our dialback keys (XEP-0185 §2): that of `dialback_secret`, or drawn at start.
    """
    limits = settings.limits
    return Federation(
        domains=frozenset(settings.domains),
        partners={name: partner.policy(name) for name, partner in settings.partners.items()},
        secret=secret,
        limits=Limits(
            stanza_bytes=limits.stanza_bytes,
            negotiation_timeout=limits.negotiation_timeout,
            idle=limits.idle,
            keepalive=limits.keepalive,
            close_timeout=limits.close_timeout,
        ),
    )
