"""What the relay tells of itself: records, figures, and who may ask for which."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from component.base.metrics import Metrics
from component.relay.counters import KINDS, OTHER
from component.relay.status import (
    AttachmentState,
    AttachmentStatus,
    PartnerCounters,
    PartnerState,
    PolicyStatus,
    RefusalKind,
    RelayCounters,
    as_json,
    count,
)
from component.relay.wire.policy import Direction
from stanzagate.admin.server import AdminServer
from stanzagate.observe_relay import Observed, observe_relay
from stanzagate.relaystatus import status_servers
from tests.unit.relay.statuskit import NOW, PAIR, REASON, Hub, absent, partner, serving

ONLY_SENDS = replace(PAIR, receives=False)
ONLY_RECEIVES = replace(PAIR, sends=False)


def at(socket: Path) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(socket)), base_url="http://relay")


def over_tcp(server: AdminServer) -> httpx.AsyncClient:
    assert server.address is not None
    return httpx.AsyncClient(base_url=f"http://{server.address[0]}:{server.address[1]}", trust_env=False)


# -- records ---------------------------------------------------------------------------------------------------------


def test_a_snapshot_is_json_of_words_and_numbers() -> None:
    hub = Hub((partner(), absent()))
    hub.counters.of("partner.test").bounced["local"] += 2
    document = json.loads(json.dumps(as_json(hub.status())))
    up, down = document["partners"]
    assert (document["name"], document["policy"]["epoch"], document["domains"]) == ("isp.test", 12, ["isp.test"])
    assert (up["state"], up["why"], up["direction"], up["bidi"]) == ("connected", "", "both", "required")
    (stream,) = up["streams"]
    assert (stream["role"], stream["authentication"], stream["tls_version"]) == ("incoming", ["external"], "TLSv1.3")
    assert stream["pairs"] == [{"local": "isp.test", "remote": "partner.test", "sends": True, "receives": True}]
    assert up["counters"]["bounced"] == {"local": 2}
    assert (down["state"], down["why"], down["next_attempt"]) == ("not-connected", REASON, NOW + 12)
    assert down["last_refusal"]["kind"] == "certificate" and down["queues"][0]["stanzas"] == 3


@pytest.mark.parametrize(
    ("changes", "state", "why"),
    [
        ({}, PartnerState.CONNECTED, ""),
        ({"pairs": (ONLY_SENDS, ONLY_RECEIVES)}, PartnerState.CONNECTED, ""),
        ({"pairs": (ONLY_SENDS,)}, PartnerState.SENDING, "the partner opens another"),
        ({"pairs": (ONLY_SENDS,), "direction": Direction.OUTBOUND}, PartnerState.SENDING, "the partner cannot send"),
        ({"pairs": (ONLY_RECEIVES,)}, PartnerState.RECEIVING, "We connect when there is something"),
        ({"pairs": (ONLY_RECEIVES,), "direction": Direction.INBOUND}, PartnerState.RECEIVING, "we cannot send"),
        ({"pairs": ()}, PartnerState.DISCONNECTED, "We connect when there is something"),
        ({"pairs": (), "direction": Direction.INBOUND}, PartnerState.DISCONNECTED, "has not connected"),
        ({"pairs": (), "queues": absent().queues}, PartnerState.DISCONNECTED, "about to connect"),
    ],
)
def test_it_is_said_why_stanzas_do_not_travel(changes: dict[str, Any], state: PartnerState, why: str) -> None:
    told = partner(**changes)
    assert told.state is state
    assert why in told.why and bool(why) is bool(told.why)


def test_a_refusal_is_the_reason_while_it_is_the_latest() -> None:
    assert absent().why == REASON
    assert absent(last_refusal=None, queues=()).why == "We connect when there is something to send."


def test_counters_in_a_snapshot_do_not_change() -> None:
    counters = PartnerCounters()
    copy = counters.copy()
    counters.sent += 1
    counters.noticed["early-bidi"] += 1
    assert (copy.sent, copy.noticed) == (0, Counter())


def test_the_number_of_kinds_is_bounded() -> None:
    counter: Counter[str] = Counter()
    for number in range(10 * KINDS):
        count(counter, f"kind-{number}")
    assert len(counter) == KINDS + 1 and counter[OTHER] == 9 * KINDS
    count(counter, "kind-1", 5)
    assert counter["kind-1"] == 6


def test_counters_of_former_partners_are_forgotten() -> None:
    counters = RelayCounters()
    counters.of("a.test").sent = 1
    counters.of("b.test").sent = 2
    counters.keep(["b.test"])
    assert (counters.of("a.test").sent, counters.of("b.test").sent) == (0, 2)


# -- figures ---------------------------------------------------------------------------------------------------------


def told(metrics: Metrics) -> dict[str, float]:
    found = [re.fullmatch(r"(\S+) (\S+)", line) for line in metrics.exposition().decode().splitlines()]
    return {match[1]: float(match[2]) for match in found if match}


def test_every_figure_can_be_read() -> None:
    hub = Hub((partner(), absent()), unauthenticated=4)
    one = hub.counters.of("partner.test")
    one.sent, one.received_bytes = 120, 4711
    count(one.refusals, RefusalKind.CERTIFICATE)
    count(one.noticed, "unsolicited-dialback")
    count(one.decisions, "denied")
    count(hub.counters.strangers, RefusalKind.STRANGER)
    count(hub.counters.turned_away, "per-address")
    count(hub.counters.noticed, "early-bidi")
    metrics = Metrics()
    observed = Observed(hub.status, hub.counters)
    observe_relay(metrics, observed)
    figures = told(metrics)
    name = "stanzagate_relay"
    assert figures[f'{name}_streams{{partner="partner.test",role="incoming"}}'] == 1
    assert figures[f'{name}_streams{{partner="down.test",role="outgoing"}}'] == 0
    assert figures[f'{name}_pairs{{direction="received",partner="partner.test"}}'] == 1
    assert figures[f'{name}_stanzas_total{{direction="sent",partner="partner.test"}}'] == 120
    assert figures[f'{name}_bytes_total{{direction="received",partner="partner.test"}}'] == 4711
    assert figures[f'{name}_queued{{partner="down.test"}}'] == 3
    assert figures[f'{name}_refusals_total{{partner="partner.test",reason="certificate"}}'] == 1
    assert figures[f'{name}_refusals_total{{partner="partner.test",reason="dialback"}}'] == 0
    assert figures[f'{name}_noticed_total{{kind="unsolicited-dialback",partner="partner.test"}}'] == 1
    assert figures[f'{name}_decisions_total{{outcome="denied",partner="partner.test"}}'] == 1
    assert figures[f'{name}_strangers_total{{reason="stranger"}}'] == 1
    assert figures[f'{name}_attached{{partner="down.test"}}'] == 1
    assert (figures[f"{name}_unauthenticated"], figures[f"{name}_policy_following"]) == (4, 1)
    assert [each for each in metrics.names if each not in metrics.exposition().decode()] == []


def test_a_pair_on_two_streams_is_one_pair() -> None:
    hub = Hub((partner(pairs=(PAIR, PAIR)),))
    metrics = Metrics()
    observe_relay(metrics, Observed(hub.status, hub.counters))
    assert told(metrics)['stanzagate_relay_pairs{direction="sent",partner="partner.test"}'] == 1


def test_a_scrape_sees_one_moment() -> None:
    hub = Hub((partner(),))
    metrics = Metrics()
    observed = Observed(hub.status, hub.counters)
    observe_relay(metrics, observed)
    hub.partners = ()
    assert any("partner.test" in name for name in told(metrics))
    observed.refresh()
    assert not any("_streams" in name and "partner.test" in name for name in told(metrics))


def test_every_metric_is_documented_and_nothing_else() -> None:
    page = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
    hub, metrics = Hub(), Metrics()
    observe_relay(metrics, Observed(hub.status, hub.counters))
    documented = set(re.findall(r"^\| `(stanzagate_relay_\w+)", page, re.MULTILINE))
    assert {name.removesuffix("_total") for name in documented} == metrics.names


# -- who may ask -----------------------------------------------------------------------------------------------------


async def test_the_socket_tells_everything(tmp_path: Path) -> None:
    hub = Hub((partner(),))
    (server,) = status_servers(hub.status, hub.counters, socket=tmp_path / "relay.sock", metrics=None)
    async with serving(server), at(tmp_path / "relay.sock") as client:
        answer = await client.get("/v1/status")
        assert answer.json() == json.loads(json.dumps(as_json(hub.status())))
        assert "stanzagate_relay_streams" in (await client.get("/metrics")).text
        healthy = await client.get("/healthz")
        assert (healthy.status_code, healthy.json()["status"]) == (200, "ok")
        assert (await client.get("/v1/other")).status_code == 404
        assert (await client.post("/v1/status")).status_code == 405
    assert not (tmp_path / "relay.sock").exists()


async def test_on_tcp_there_are_figures_alone() -> None:
    hub = Hub((partner(),))
    (server,) = status_servers(hub.status, hub.counters, socket=None, metrics="127.0.0.1:0")
    async with serving(server), over_tcp(server) as client:
        assert (await client.get("/metrics")).status_code == 200
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/v1/status")).status_code == 404
        assert (await client.get("/v1/status/follow")).status_code == 404
        assert (await client.post("/metrics")).status_code in (403, 405)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"policy": PolicyStatus(False, False, reason="Nobody answers.")}, "degraded"),
        ({"partners": (partner(attachment=AttachmentStatus(AttachmentState.REFUSED, NOW, 0, "No.")),)}, "degraded"),
        ({"draining": True}, "draining"),
    ],
)
async def test_what_ails_the_relay_is_not_healthy(tmp_path: Path, changes: dict[str, Any], status: str) -> None:
    hub = replace(Hub((partner(),)), **changes)
    (server,) = status_servers(hub.status, hub.counters, socket=tmp_path / "s", metrics=None)
    async with serving(server), at(tmp_path / "s") as client:
        answer = await client.get("/healthz")
        assert (answer.status_code, answer.json()["status"]) == (503, status)


async def test_who_follows_gets_snapshot_after_snapshot(tmp_path: Path) -> None:
    hub = Hub((partner(),))
    (server,) = status_servers(hub.status, hub.counters, socket=tmp_path / "s", metrics=None)
    async with serving(server), at(tmp_path / "s") as client:
        async with client.stream("GET", "/v1/status/follow", params={"interval": "0.05"}) as stream:
            lines = stream.aiter_lines()
            assert json.loads(await anext(lines))["partners"][0]["state"] == "connected"
            hub.partners = (absent(),)
            while json.loads(await anext(lines))["partners"][0]["state"] != "not-connected":
                pass
        for wrong in ("0", "nan", "x", "-1", "1e9"):
            answer = await client.get("/v1/status/follow", params={"interval": wrong})
            assert (answer.status_code, answer.json()["exit_code"]) == (400, 2), wrong


async def test_who_follows_is_told_that_the_relay_stops(tmp_path: Path) -> None:
    hub = Hub((partner(),))
    (server,) = status_servers(hub.status, hub.counters, socket=tmp_path / "s", metrics=None)
    async with serving(server), at(tmp_path / "s") as client, client.stream("GET", "/v1/status/follow") as stream:
        lines = stream.aiter_lines()
        await anext(lines)
        await server.stop()
        rest = [json.loads(text) async for text in lines]
        assert rest[-1]["problem"]["exit_code"] == 3


# -- documentation ---------------------------------------------------------------------------------------------------


def test_every_field_and_every_reason_is_documented() -> None:
    page = (Path(__file__).parents[3] / "docs" / "relay.md").read_text()
    fields = page[page.index("### Every field of the status") : page.index("## Why a partner")]

    def names(value: Any) -> set[str]:
        if isinstance(value, dict):
            return set(value).union(*map(names, value.values()))
        return set().union(*map(names, value)) if isinstance(value, list) else set()

    assert (
        sorted(name for name in names(as_json(Hub((partner(), absent())).status())) if f"`{name}`" not in fields)
        == []
    )
    assert [state for state in (*AttachmentState, *PartnerState) if f"`{state}`" not in fields] == []
    reasons = page[page.index("## Why a partner") : page.index("## What the log says")]
    assert set(re.findall(r"^\| `([a-z]+)` \|", reasons, re.MULTILINE)) == {str(kind) for kind in RefusalKind}
