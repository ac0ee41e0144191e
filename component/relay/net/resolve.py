"""Where a partner's server can be reached: a fixed address of the configuration, else DNS (RFC 6120 §3.2, XEP-0368).

DNS is asked for both services at once. Servers that begin with TLS are tried before those with STARTTLS, which
XEP-0368 §2 allows; within a service, the order is that of RFC 2782. The domain itself with port 5269 counts only when
there is no record of either service. What DNS says is a hint where to connect and proves nothing: who is there is
told by the certificate, which is judged for the domain and not for the name of the machine.
"""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import dns.asyncresolver
import dns.exception
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver

from component.base.errors import NotFound, Unreachable
from component.base.settings import Address

DIRECT_TLS = "_xmpps-server._tcp"
STARTTLS = "_xmpp-server._tcp"
DEFAULT_PORT = 5269
MOST_RECORDS = 20
"""So many SRV records of a service are looked at, and so many addresses are tried: DNS must not keep us busy."""

RandomInt = Callable[[int, int], int]
"""A random number from the first to the second, both included, as `random.Random.randint` gives it."""


class NoService(NotFound):
    """The domain has no XMPP server for other servers, or does not exist; asking again soon is no use."""


class ResolutionFailed(Unreachable):
    """DNS could not be asked, or gave no usable answer; it may be better later."""


@dataclass(frozen=True, slots=True)
class Target:
    """One place to connect to.

    :ivar host: an IP address.
    :ivar direct_tls: TLS begins at once, with ALPN ``xmpp-server`` (XEP-0368).
    :ivar name: of the machine, for people; the certificate is never compared with it.
    """

    host: str
    port: int
    direct_tls: bool = False
    name: str = field(default="", compare=False)


class Service(NamedTuple):
    """One SRV record (RFC 2782)."""

    priority: int
    weight: int
    port: int
    target: str


class Resolver:
    """Finds the servers of partners.

    :param randint: draws among records of the same priority.
    :param nameservers: asked for everything, by IP address. Without any the system's are asked for SRV records, and
        the system itself for addresses, so that its hosts file counts.
    :param timeout: seconds for each question.
    """

    def __init__(self, randint: RandomInt, nameservers: Sequence[Address] = (), *, timeout: float = 10.0) -> None:
        self._randint = randint
        self._nameservers = tuple(nameservers)
        self._timeout = timeout

    async def targets(self, domain: str, fixed: Address | None = None, *, direct_tls: bool = False) -> list[Target]:
        """Where to connect, best first; at least one.

        :param domain: of the partner, prepared.
        :param fixed: where it is, so that DNS is asked for no service.
        :param direct_tls: what is at `fixed` begins with TLS.
        :raises NoService: the domain has no such server, or does not exist.
        :raises ResolutionFailed: that cannot be found out now.
        """
        if fixed is not None:
            return _different(await self._places(domain, fixed.host, fixed.port, direct_tls))
        if (address := _literal(domain)) is not None:
            return [Target(address, DEFAULT_PORT, name=domain)]
        name = a_labels(domain)
        services = await self._services(name, domain)
        if services is None:
            return _different(await self._places(domain, name, DEFAULT_PORT, False))
        return await self._reached(domain, services)

    async def _services(self, name: str, domain: str) -> list[tuple[Service, bool]] | None:
        """The servers of a domain in order, each with whether it begins with TLS; None when there is no record.

        :raises NoService: there is a record that says so.
        :raises ResolutionFailed: neither service could be asked for, or one could not and the other has no record.
        """
        asked = await asyncio.gather(
            self._records(f"{DIRECT_TLS}.{name}"), self._records(f"{STARTTLS}.{name}"), return_exceptions=True
        )
        failure: ResolutionFailed | None = None
        found: list[tuple[Service, bool]] = []
        records = 0
        for answer, begins_with_tls in zip(asked, (True, False), strict=True):
            if isinstance(answer, ResolutionFailed):
                failure = answer
            elif isinstance(answer, BaseException):
                raise answer
            else:
                records += len(answer)
                offered = [service for service in answer if service.target and service.port]
                found += [(service, begins_with_tls) for service in ordered(offered, self._randint)]
        if found:
            return found
        if failure is not None:  # the service that could not be asked for may be the one
            raise failure
        if records:  # RFC 2782, "Target"; XEP-0368 §4: then the domain's own address does not count, either
            raise NoService(f"DNS says that {domain} has no XMPP server for other servers.")
        return None

    async def _reached(self, domain: str, services: Sequence[tuple[Service, bool]]) -> list[Target]:
        asked = await asyncio.gather(
            *(self._places(domain, service.target, service.port, tls) for service, tls in services[:MOST_RECORDS]),
            return_exceptions=True,
        )
        found: list[Target] = []
        failures: list[NoService | ResolutionFailed] = []
        for answer in asked:
            if isinstance(answer, NoService | ResolutionFailed):
                failures.append(answer)  # another one may do
            elif isinstance(answer, BaseException):
                raise answer
            else:
                found += answer
        if not found:
            raise next((failure for failure in failures if isinstance(failure, ResolutionFailed)), failures[0])
        return _different(found)[:MOST_RECORDS]

    async def _places(self, domain: str, host: str, port: int, direct_tls: bool) -> list[Target]:
        """One target for each address of a host."""
        literal = _literal(host)
        if literal is not None:
            addresses = [literal]
        elif self._nameservers:
            addresses = await self._addresses(a_labels(host))
        else:
            addresses = await self._system_addresses(a_labels(host), port)
        if not addresses:
            of = f" of {domain}" if host != domain else ""
            raise NoService(f"DNS knows no address of {host}, the server{of}.", hint="Is the name right?")
        return [Target(address, port, direct_tls, host) for address in addresses[:MOST_RECORDS]]

    # -- questions

    async def _records(self, name: str) -> list[Service]:
        answer = await self._ask(name, dns.rdatatype.SRV)
        services = [
            Service(record.priority, record.weight, record.port, str(record.target).rstrip("."))
            for record in itertools.islice(answer, MOST_RECORDS)
        ]
        return sorted(services)  # whatever order DNS gives, the random numbers alone decide

    async def _addresses(self, host: str) -> list[str]:
        asked = await asyncio.gather(
            self._ask(host, dns.rdatatype.AAAA), self._ask(host, dns.rdatatype.A), return_exceptions=True
        )
        found: list[str] = []
        failure: ResolutionFailed | None = None
        for answer in asked:
            if isinstance(answer, ResolutionFailed):
                failure = answer
            elif isinstance(answer, BaseException):
                raise answer
            else:
                found += (str(record.address) for record in answer)
        if failure is not None and not found:
            raise failure
        return found

    async def _system_addresses(self, host: str, port: int) -> list[str]:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout):
                found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except TimeoutError:
            raise ResolutionFailed(f"The address of {host} cannot be found out: no answer in time.") from None
        except (socket.gaierror, UnicodeError) as error:
            if isinstance(error, UnicodeError) or error.errno in _NO_SUCH_HOST:
                return []
            raise ResolutionFailed(f"The address of {host} cannot be found out: {error.strerror}.") from None
        return [str(address[0]) for *_, address in found]

    async def _ask(self, name: str, kind: dns.rdatatype.RdataType) -> Iterable[Any]:
        """The records of a name; none when there are none.

        :raises ResolutionFailed: there is no answer, or none that can be believed.
        """
        try:
            asked = dns.name.from_text(name)
        except dns.exception.DNSException:
            return ()  # a part is too long, or empty: DNS cannot hold that name
        try:
            return await self._resolver().resolve(asked, kind, lifetime=self._timeout, search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return ()
        except dns.resolver.NoNameservers:
            reason = "no nameserver has an answer"
        except dns.exception.Timeout:
            reason = "no answer in time"
        except dns.resolver.NoResolverConfiguration:
            reason = "this machine has no nameserver"
        except (dns.exception.DNSException, OSError) as error:
            reason = str(error) or type(error).__name__
        raise ResolutionFailed(f"DNS cannot be asked for {dns.rdatatype.to_text(kind)} of {name}: {reason}.")

    def _resolver(self) -> dns.asyncresolver.Resolver:
        """Made for each question, so that a change of the machine's nameservers counts."""
        if not self._nameservers:
            return dns.asyncresolver.Resolver()
        resolver = dns.asyncresolver.Resolver(configure=False)
        resolver.nameservers = [dns.nameserver.Do53Nameserver(each.host, each.port) for each in self._nameservers]
        return resolver


_NO_SUCH_HOST = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})


def ordered(services: Iterable[Service], randint: RandomInt) -> list[Service]:
    """SRV records in the order in which to try them (RFC 2782, "Weight").

    :param randint: draws once for each place among records of the same priority.
    """
    result: list[Service] = []
    by_priority = sorted(services, key=lambda service: (service.priority, service.weight))
    for _, group in itertools.groupby(by_priority, key=lambda service: service.priority):
        left = list(group)  # those of weight 0 first
        while left:
            drawn = randint(0, sum(service.weight for service in left))
            sums = itertools.accumulate(service.weight for service in left)
            place = next(index for index, total in enumerate(sums) if total >= drawn)
            result.append(left.pop(place))
    return result


def a_labels(domain: str) -> str:
    """A prepared domain as DNS spells it (RFC 3490 §4.1, which the preparation of domains in XMPP stands on).

    :raises NoService: there is no such spelling, so DNS cannot hold the name.
    """
    if domain.isascii():
        return domain
    try:
        return domain.encode("idna").decode("ascii")
    except UnicodeError:
        raise NoService(f"{domain} is not a name that DNS can hold.") from None


def _literal(host: str) -> str | None:
    """The IP address that a name is, or None."""
    try:
        return str(ipaddress.ip_address(host.removeprefix("[").removesuffix("]")))
    except ValueError:
        return None


def _different(targets: Iterable[Target]) -> list[Target]:
    return list(dict.fromkeys(targets))
