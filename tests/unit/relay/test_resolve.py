"""Where a partner is, asked of a real DNS server (RFC 6120 §3.2, RFC 2782, XEP-0368)."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable

import dns.message
import dns.rrset
import pytest

from component.base.settings import Address
from component.relay.net.resolve import NoService, ResolutionFailed, Resolver, Service, Target, a_labels, ordered
from tests.unit.relay.dnskit import Zone, loopback_v6, serving

STARTTLS, DIRECT = "_xmpp-server._tcp.partner.test", "_xmpps-server._tcp.partner.test"


def last(_least: int, most: int) -> int:
    return most


@pytest.fixture
async def zone() -> AsyncIterator[Zone]:
    async with serving(Zone()) as running:
        yield running


def resolver(zone: Zone, randint: Callable[[int, int], int] = last, timeout: float = 5.0) -> Resolver:
    return Resolver(randint, [zone.address], timeout=timeout)


# -- services --------------------------------------------------------------------------------------------------------


async def test_priorities_come_in_their_order(zone: Zone) -> None:
    zone.add(STARTTLS, "SRV", "20 0 5270 b.test.", "10 0 5269 a.test.", "30 0 5271 a.test.")
    zone.add("a.test", "A", "127.0.0.11")
    zone.add("b.test", "A", "127.0.0.12")
    targets = await resolver(zone).targets("partner.test")
    assert targets == [Target("127.0.0.11", 5269), Target("127.0.0.12", 5270), Target("127.0.0.11", 5271)]
    assert [target.name for target in targets] == ["a.test", "b.test", "a.test"]


async def test_direct_tls_is_tried_first_whatever_its_priority(zone: Zone) -> None:
    zone.add(STARTTLS, "SRV", "1 0 5269 a.test.")
    zone.add(DIRECT, "SRV", "9 0 5270 a.test.")
    zone.add("a.test", "A", "127.0.0.11")
    assert await resolver(zone).targets("partner.test") == [
        Target("127.0.0.11", 5270, direct_tls=True), Target("127.0.0.11", 5269),
    ]  # fmt: skip


async def test_every_address_of_a_machine_is_a_target(zone: Zone) -> None:
    zone.add(STARTTLS, "SRV", "1 0 5269 a.test.")
    zone.add("a.test", "A", "127.0.0.11", "127.0.0.12")
    zone.add("a.test", "AAAA", "::1")
    targets = await resolver(zone).targets("partner.test")
    assert {target.host for target in targets} == {"::1", "127.0.0.11", "127.0.0.12"} and targets[0].host == "::1"


async def test_no_record_means_the_domain_itself_at_port_5269(zone: Zone) -> None:
    zone.add("partner.test", "AAAA", "::1")
    zone.add("partner.test", "A", "127.0.0.11")
    assert await resolver(zone).targets("partner.test") == [Target("::1", 5269), Target("127.0.0.11", 5269)]
    assert f"SRV {STARTTLS}" in zone.asked and f"SRV {DIRECT}" in zone.asked


async def test_a_name_with_other_records_only_has_no_service_record_either(zone: Zone) -> None:
    zone.add(STARTTLS, "TXT", '"hello"')
    zone.add("partner.test", "A", "127.0.0.11")
    assert await resolver(zone).targets("partner.test") == [Target("127.0.0.11", 5269)]


@pytest.mark.parametrize("name", [STARTTLS, DIRECT])
async def test_a_dot_means_no_service_and_no_falling_back(zone: Zone, name: str) -> None:
    zone.add(name, "SRV", "0 0 0 .")
    zone.add("partner.test", "A", "127.0.0.11")
    with pytest.raises(NoService, match=r"partner\.test has no XMPP server"):
        await resolver(zone).targets("partner.test")
    assert "A partner.test" not in zone.asked


async def test_a_dot_for_one_service_leaves_the_other(zone: Zone) -> None:
    zone.add(DIRECT, "SRV", "0 0 0 .")
    zone.add(STARTTLS, "SRV", "0 0 5269 a.test.")
    zone.add("a.test", "A", "127.0.0.11")
    assert await resolver(zone).targets("partner.test") == [Target("127.0.0.11", 5269)]


async def test_a_domain_that_does_not_exist(zone: Zone) -> None:
    with pytest.raises(NoService, match=r"no address of partner\.test"):
        await resolver(zone).targets("partner.test")


async def test_a_machine_that_does_not_exist_is_left_out(zone: Zone) -> None:
    zone.add(STARTTLS, "SRV", "1 0 5269 gone.test.", "2 0 5269 a.test.")
    zone.add("a.test", "A", "127.0.0.11")
    assert await resolver(zone).targets("partner.test") == [Target("127.0.0.11", 5269)]
    zone.records[STARTTLS, "SRV"].pop()
    with pytest.raises(NoService, match=r"no address of gone\.test, the server of partner\.test"):
        await resolver(zone).targets("partner.test")


async def test_aliases_are_followed(zone: Zone) -> None:
    zone.add(STARTTLS, "CNAME", "_xmpp-server._tcp.hoster.test.")
    zone.add("_xmpp-server._tcp.hoster.test", "SRV", "1 0 5222 a.test.")
    zone.add("a.test", "CNAME", "b.test.")
    zone.add("b.test", "A", "127.0.0.12")
    assert await resolver(zone).targets("partner.test") == [Target("127.0.0.12", 5222)]


async def test_the_same_place_is_tried_once(zone: Zone) -> None:
    zone.add(STARTTLS, "SRV", "1 0 5269 a.test.", "2 0 5269 b.test.")
    zone.add("a.test", "A", "127.0.0.11")
    zone.add("b.test", "A", "127.0.0.11")
    assert await resolver(zone).targets("partner.test") == [Target("127.0.0.11", 5269)]


async def test_names_beyond_ascii_are_asked_for_as_a_labels(zone: Zone) -> None:
    zone.add("_xmpp-server._tcp.xn--bcher-kva.test", "SRV", "1 0 5269 a.test.")
    zone.add("a.test", "A", "127.0.0.11")
    assert await resolver(zone).targets("bücher.test") == [Target("127.0.0.11", 5269)]
    assert a_labels("☃.bücher.test") == "xn--n3h.xn--bcher-kva.test" and a_labels("a.test") == "a.test"


@pytest.mark.parametrize("domain", ["☃☃." + "ü" * 70 + ".test", "x" * 64 + ".test", "a..test", "x." * 130 + "test"])
async def test_a_name_that_dns_cannot_hold(zone: Zone, domain: str) -> None:
    with pytest.raises(NoService):
        await resolver(zone).targets(domain)


async def test_dns_cannot_keep_us_busy(zone: Zone) -> None:
    zone.add(STARTTLS, "SRV", *(f"1 0 {5000 + number} many.test." for number in range(60)))
    zone.add("many.test", "A", *(f"127.0.1.{number}" for number in range(1, 61)))
    zone.long |= {STARTTLS, "many.test"}
    targets = await resolver(zone).targets("partner.test")
    assert len(targets) == 20
    assert len(zone.asked) < 100


# -- answers that are no good ----------------------------------------------------------------------------------------


async def test_a_truncated_answer_is_asked_for_again_over_tcp(zone: Zone) -> None:
    zone.add(STARTTLS, "SRV", *(f"1 0 {5000 + number} a.test." for number in range(10)))
    zone.add("a.test", "A", "127.0.0.11")
    zone.long.add(STARTTLS)
    assert len(await resolver(zone).targets("partner.test")) == 10
    assert f"SRV {STARTTLS} tcp" in zone.asked


@pytest.mark.parametrize("where", ["silent", "broken"])
async def test_a_failure_is_not_the_same_as_no_record(zone: Zone, where: str) -> None:
    zone.add("partner.test", "A", "127.0.0.11")
    getattr(zone, where).add(STARTTLS)
    with pytest.raises(ResolutionFailed, match=r"SRV of _xmpp-server\._tcp\.partner\.test: no "):
        await resolver(zone, timeout=0.3).targets("partner.test")
    assert "A partner.test" not in zone.asked


async def test_one_service_is_enough_when_the_other_cannot_be_asked_for(zone: Zone) -> None:
    zone.add(STARTTLS, "SRV", "1 0 5269 a.test.")
    zone.add("a.test", "A", "127.0.0.11")
    zone.broken.add(DIRECT)
    assert await resolver(zone).targets("partner.test") == [Target("127.0.0.11", 5269)]


@pytest.mark.parametrize("where", ["silent", "broken"])
async def test_a_machine_whose_address_cannot_be_found_out(zone: Zone, where: str) -> None:
    zone.add(STARTTLS, "SRV", "1 0 5269 a.test.", "2 0 5269 gone.test.")
    getattr(zone, where).add("a.test")
    with pytest.raises(ResolutionFailed, match=r"a\.test: no "):
        await resolver(zone, timeout=0.3).targets("partner.test")
    zone.add("gone.test", "A", "127.0.0.11")
    assert await resolver(zone, timeout=0.3).targets("partner.test") == [Target("127.0.0.11", 5269)]


async def test_the_answer_to_another_question_is_not_believed(zone: Zone) -> None:
    def lie(reply: dns.message.Message, udp: bool) -> dns.message.Message:
        other = dns.message.make_query("evil.test.", "SRV", id=reply.id)
        lying = dns.message.make_response(other)
        lying.answer.append(dns.rrset.from_text("evil.test.", 60, "IN", "SRV", "1 0 5269 evil.test."))
        return lying

    zone.add(STARTTLS, "SRV", "1 0 5269 a.test.")
    zone.meddle = lie
    with pytest.raises(ResolutionFailed):
        await resolver(zone, timeout=0.3).targets("partner.test")


async def test_an_answer_about_another_name_is_not_used(zone: Zone) -> None:
    def add(reply: dns.message.Message, udp: bool) -> dns.message.Message:
        reply.answer.clear()
        reply.answer.append(dns.rrset.from_text("evil.test.", 60, "IN", "SRV", "1 0 5269 evil.test."))
        reply.answer.append(dns.rrset.from_text("evil.test.", 60, "IN", "A", "127.0.0.66"))
        return reply

    zone.add(STARTTLS, "SRV", "1 0 5269 a.test.")
    zone.meddle = add
    with pytest.raises(NoService):
        await resolver(zone).targets("partner.test")


async def test_an_answer_with_another_id_is_not_believed(zone: Zone) -> None:
    def wrong_id(reply: dns.message.Message, udp: bool) -> dns.message.Message:
        reply.id ^= 1
        return reply

    zone.add(STARTTLS, "SRV", "1 0 5269 a.test.")
    zone.add("a.test", "A", "127.0.0.11")
    zone.meddle = wrong_id
    with pytest.raises(ResolutionFailed, match="no answer in time"):
        await resolver(zone, timeout=0.3).targets("partner.test")


async def test_nobody_answers() -> None:
    async with serving(Zone()) as zone:
        nobody = zone.address
    with pytest.raises(ResolutionFailed):
        await Resolver(last, [nobody], timeout=0.3).targets("partner.test")


async def test_the_next_nameserver_is_asked() -> None:
    async with serving(Zone(broken={STARTTLS, DIRECT, "partner.test"})) as broken, serving(Zone()) as good:
        good.add("partner.test", "A", "127.0.0.11")
        found = await Resolver(last, [broken.address, good.address]).targets("partner.test")
    assert found == [Target("127.0.0.11", 5269)] and broken.asked


@pytest.mark.skipif(not loopback_v6(), reason="this machine has no IPv6")
async def test_a_nameserver_may_be_asked_over_ipv6() -> None:
    async with serving(Zone(), "::1") as zone:
        zone.add("partner.test", "A", "127.0.0.11")
        assert await resolver(zone).targets("partner.test") == [Target("127.0.0.11", 5269)]


async def test_a_question_can_be_given_up(zone: Zone) -> None:
    zone.silent |= {STARTTLS, DIRECT}
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(resolver(zone, timeout=60).targets("partner.test"))
        while len(zone.asked) < 2:
            await asyncio.sleep(0)
        asking.cancel()
    assert asking.cancelled()


# -- without asking for a service ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("domain", "host"), [("127.0.0.9", "127.0.0.9"), ("[::1]", "::1"), ("::1", "::1")])
async def test_a_domain_that_is_an_address_is_asked_nothing_about(zone: Zone, domain: str, host: str) -> None:
    assert await resolver(zone).targets(domain) == [Target(host, 5269)]
    assert zone.asked == []


async def test_a_fixed_address_wins_over_dns(zone: Zone) -> None:
    zone.add(STARTTLS, "SRV", "1 0 5269 a.test.")
    fixed = Address("127.0.0.9", 7000)
    assert await resolver(zone).targets("partner.test", fixed) == [Target("127.0.0.9", 7000)]
    assert await resolver(zone).targets("partner.test", fixed, direct_tls=True) == [Target("127.0.0.9", 7000, True)]
    assert zone.asked == []


async def test_a_fixed_name_is_looked_up(zone: Zone) -> None:
    zone.add("host.test", "AAAA", "::1")
    assert await resolver(zone).targets("partner.test", Address("host.test", 7000)) == [Target("::1", 7000)]
    with pytest.raises(NoService, match=r"no address of none\.test, the server of partner\.test"):
        await resolver(zone).targets("partner.test", Address("none.test", 7000))


async def test_without_nameservers_the_system_knows_addresses() -> None:
    targets = await Resolver(last).targets("partner.test", Address("localhost", 7000))
    assert targets and {target.port for target in targets} == {7000}
    assert {target.host for target in targets} <= {"127.0.0.1", "::1"}


# -- the order of records (RFC 2782) ---------------------------------------------------------------------------------


def service(priority: int, weight: int, name: str) -> Service:
    return Service(priority, weight, 5269, name)


def names(services: list[Service]) -> list[str]:
    return [each.target for each in services]


def test_the_weights_share_out_the_numbers_that_are_drawn() -> None:
    group = [service(1, 3, "c"), service(1, 0, "a"), service(1, 1, "b")]
    first = [names(ordered(group, lambda _, most, drawn=drawn: min(drawn, most)))[0] for drawn in range(5)]  # type: ignore[misc]
    assert first == ["a", "b", "c", "c", "c"]


def test_each_place_is_drawn_among_those_that_are_left() -> None:
    asked: list[tuple[int, int]] = []

    def draw(least: int, most: int) -> int:
        asked.append((least, most))
        return most

    group = [service(2, 7, "z"), service(1, 1, "a"), service(1, 2, "b"), service(1, 4, "c")]
    assert names(ordered(group, draw)) == ["c", "b", "a", "z"]
    assert asked == [(0, 7), (0, 3), (0, 1), (0, 7)]


def test_no_priority_is_mixed_with_another_one() -> None:
    services = [service(priority, weight, f"{priority}") for priority in (3, 1, 2) for weight in (0, 5, 60000)]
    for seed in range(50):
        result = ordered(services, random.Random(seed).randint)
        assert [each.priority for each in result] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
        assert Counter(result) == Counter(services)


def test_heavier_records_come_first_more_often() -> None:
    draw = random.Random(6).randint
    group = [service(1, 10, "light"), service(1, 90, "heavy"), service(1, 0, "last")]
    firsts = Counter(names(ordered(group, draw))[0] for _ in range(2000))
    assert firsts["heavy"] > 6 * firsts["light"] > firsts["last"] > 0
