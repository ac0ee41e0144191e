"""The configuration sections of the partners, under ``relay.partners``."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, NoReturn, TypeVar

from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from component.base.settings import (
    UNLIMITED,
    Address,
    AddressSetting,
    Domain,
    PathSetting,
    RateSetting,
    Secret,
    Section,
)
from component.relay.wire.policy import Authentication, Bidi, Direction, PartnerPolicy

_ItemT = TypeVar("_ItemT")


class StanzaKind(StrEnum):
    """The kinds of stanzas (RFC 6120 §8)."""

    IQ = "iq"
    MESSAGE = "message"
    PRESENCE = "presence"


class CertificateRule(StrEnum):
    """Whether a partner's certificate must be good."""

    VERIFY = "verify"
    IGNORE = "ignore"
    """TLS with any certificate will do: dialback alone says who the partner is."""


def fail(message: str, *location: str) -> NoReturn:
    """An error of one key, found by a check of its whole section, so that the key's own line is named.

    :param location: keys from the section downwards.
    :raises ValidationError: always.
    """
    problem = PydanticCustomError("value_error", "{error}", {"error": message})
    raise ValidationError.from_exception_data("relay", [InitErrorDetails(type=problem, loc=location, input=None)])


def different(value: tuple[_ItemT, ...]) -> tuple[_ItemT, ...]:
    """Lets a list through in which nothing is there twice.

    :raises ValueError: something is.
    """
    for place, item in enumerate(value):
        if item in value[:place]:
            raise ValueError(f"{item} is there twice")
    return value


def real_port(value: Address | None) -> Address | None:
    """Lets an address through that one can connect to.

    :raises ValueError: its port is 0.
    """
    if value is not None and value.port == 0:
        raise ValueError("port 0 leads nowhere")
    return value


Domains = Annotated[tuple[Domain, ...], AfterValidator(different), Field(min_length=1)]
Methods = Annotated[tuple[Authentication, ...], AfterValidator(different), Field(min_length=1)]
StanzaKinds = Annotated[tuple[StanzaKind, ...], AfterValidator(different), Field(min_length=1)]


class PartnerSettings(Section):
    """A partner: its attachment to the local server, how it is found and recognized, and what it may exchange.

    :ivar connect: where it listens; None asks DNS.
    :ivar direct_tls: `connect` begins with TLS (XEP-0368).
    :ivar trust: certificates of the authorities that count for this partner alone, instead of the relay's.
    :ivar domains: local domains that it may exchange stanzas with; None for all of them.
    """

    component_port: int = Field(default=5347, ge=1, le=65535)
    secret: Secret
    connect: AddressSetting | None = None
    direct_tls: bool = False
    bidi: Bidi = Bidi.PREFERRED
    authentication: Methods = (Authentication.EXTERNAL,)
    direction: Direction = Direction.BOTH
    trust: PathSetting | None = None
    certificate: CertificateRule = CertificateRule.VERIFY
    early_bidi: bool = True
    offer_legacy_bidi: bool = False
    domains: Domains | None = None
    stanzas: StanzaKinds = tuple(StanzaKind)
    rate: RateSetting = UNLIMITED

    @field_validator("connect")
    @classmethod
    def _some_port(cls, value: Address | None) -> Address | None:
        return real_port(value)

    @model_validator(mode="after")
    def _fits_together(self) -> PartnerSettings:
        if self.certificate is CertificateRule.IGNORE and Authentication.DIALBACK not in self.authentication:
            fail(
                "only dialback could say who the partner is then, and authentication does not have it", "certificate"
            )
        if self.direct_tls and self.connect is None:
            fail("direct_tls belongs to connect; without that, DNS says how to connect", "direct_tls")
        return self

    def policy(self, domain: str) -> PartnerPolicy:
        """What the S2S machines must know of it.

        :param domain: the partner's, prepared.
        """
        return PartnerPolicy(
            domain=domain,
            bidi=self.bidi,
            authentication=self.authentication,
            direction=self.direction,
            verify_certificate=self.certificate is CertificateRule.VERIFY,
            early_bidi=self.early_bidi,
            offer_legacy_bidi=self.offer_legacy_bidi,
        )


def partner_remarks(partner: PartnerSettings) -> Iterator[tuple[str, str]]:
    """Keys of a partner whose values are allowed and probably not meant; each with a sentence."""
    inbound_only = partner.direction is Direction.INBOUND
    if partner.connect is not None and inbound_only:
        yield "connect", "With direction: inbound this is used for asking about dialback keys only."
    if partner.bidi is Bidi.OFF and inbound_only:
        yield "bidi", "With direction: inbound and no bidi nothing can be sent to this partner, not even an answer."
    if partner.bidi is Bidi.OFF and partner.direction is Direction.OUTBOUND:
        yield "bidi", "With direction: outbound and no bidi this partner can send nothing, not even an answer."
    if partner.certificate is CertificateRule.IGNORE:
        yield "certificate", "Whoever can change this partner's DNS or the way to it can pass for it."
    if inbound_only and partner.certificate is CertificateRule.IGNORE:
        yield "direction", "Keys can be verified only by connecting to this partner, although direction is inbound."
