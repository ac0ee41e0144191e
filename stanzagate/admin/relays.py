"""The relays that follow the policy: what they ask, what they are told, and whether they obey.

A relay remembers decisions, as an in-server plugin does, so a change is in force only when it has forgotten what the
change touches. It follows a stream of changes; each line of it is confirmed by a request of its own:

    relay → us    decision        may this requester reach this device?
                  changes         the stream: first where we stand, then every change, and a sign of life
                  confirmations   everything up to that epoch is forgotten
                  goodbye         it remembers nothing any more, and ends

A relay whose stream breaks without goodbye may go on by what it remembers until that is `stale`; so long every change
waits for it, and names it, also when it was we who were restarted: the names are kept in a file. A relay is known by
its name: two at a time must not have the same.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from component.base.enforcement import Decider, NoDecision, NotConfirmed, as_prepared, lifetime
from component.base.errors import Conflict, InputError, Unreachable
from component.base.files import write_atomic
from component.base.guardedhost import CONFIRM_SECONDS
from component.base.jid import prepare_often
from component.base.pluginstatus import Guard, PluginMode
from stanzagate.admin.following import Following

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 5.0
MAX_RELAYS = 64


@dataclass(frozen=True, slots=True)
class Guarded:
    """What relays must know of the gate.

    :ivar hosts: the guarded hosts, prepared domains.
    :ivar guard: what is guarded there.
    :ivar gate: the gate's JID, a domain.
    :ivar ttl: seconds for which a decision may be used.
    :ivar stale: seconds for which it may while we are away.
    """

    hosts: tuple[str, ...]
    guard: Guard
    gate: str
    ttl: float
    stale: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What a relay is answered; seconds from now for `ttl` and `stale`."""

    effect: str
    scope: str
    ttl: float
    stale: float
    epoch: int
    rule: str
    reason: str


@dataclass(eq=False)
class _Relay:
    """One relay that may remember decisions.

    :ivar stream: what it follows now, or None.
    :ivar last: id of its latest stream.
    :ivar confirmed: up to which epoch it has forgotten what changes touched.
    :ivar lost: monotonic seconds at which its stream broke, when it has none.
    """

    name: str
    stream: Following | None = None
    last: str = ""
    confirmed: int = -1
    lost: float = 0.0
    gone: bool = False
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def stir(self) -> None:
        """Have those who wait look again."""
        self.news.set()
        self.news = asyncio.Event()


class Relays:
    """Answers the relays and has them obey. See the head of this file.

    :param decide: who decides, the same as for the plugins.
    :param epoch: the number of the policy that is in force.
    :param clock: Unix time in seconds; `now` is monotonic.
    :param patience: seconds that a change waits for confirmations.
    :param memory: a file for the names of the relays that may remember decisions; its folder must be writable.
    :ivar decisions: answers by effect; ``none`` when nothing could be decided.
    """

    def __init__(
        self,
        decide: Decider,
        guarded: Guarded,
        epoch: Callable[[], int],
        *,
        clock: Callable[[], float] = time.time,
        now: Callable[[], float] = time.monotonic,
        new_id: Callable[[], str] = lambda: secrets.token_hex(8),
        patience: float = CONFIRM_SECONDS,
        heartbeat: float = HEARTBEAT_SECONDS,
        memory: Path | None = None,
    ) -> None:
        self.guarded = guarded
        self.heartbeat = heartbeat
        self.decisions: Counter[str] = Counter()
        self.reported = 0
        """Events that relays have reported."""
        self._decide = decide
        self._epoch = epoch
        self._clock = clock
        self._now = now
        self._new_id = new_id
        self._patience = patience
        self._memory = memory
        self._relays = {name: _Relay(name, lost=now()) for name in _names(memory)}
        self._batches: OrderedDict[str, str] = OrderedDict()

    # Questions

    def decide(self, requester: str, device: str, partner: str = "") -> Answer:
        """May `requester` reach `device`, as a relay asks for its partner?

        :raises InputError: not two JIDs, a device on no guarded host, or a requester that is not the partner's.
        :raises Unreachable: nothing can be decided at the moment.
        """
        who, what = as_prepared(requester), as_prepared(device)
        if what.domain not in self.guarded.hosts:
            raise InputError(
                f"{what.domain} is no guarded host, so nothing is decided about it.",
                hint="gate.guarded_hosts names those that are.",
            )
        if partner and who.domain != prepare_often(partner).full:
            raise InputError(f"{who} is no address of the partner {partner!a}, so it cannot ask for it.")
        try:
            found = self._decide(who, what, PluginMode.ENFORCE)
        except NoDecision:
            self.decisions["none"] += 1
            raise Unreachable("The policy cannot be had.", hint="The service's log says why.") from None
        effect = "allow" if found.allowed else "deny"
        self.decisions[effect] += 1
        ttl, stale = lifetime(
            found.expires, self.guarded.ttl, max(self.guarded.ttl, self.guarded.stale), self._clock()
        )
        scope = "bare" if found.every_resource else "full"
        return Answer(effect, scope, ttl, stale, found.epoch, found.rule, found.reason)

    # Streams

    def follow(self, name: str) -> Following:
        """Begin a stream. It takes the place of an older one of the same relay, which may be dead unseen.

        :raises Conflict: too many relays.
        """
        self._forget_stale()
        relay = self._relays.get(name)
        if relay is None:
            if len(self._relays) >= MAX_RELAYS:
                raise Conflict(f"{MAX_RELAYS} relays follow already.", hint="Give each relay one name that stays.")
            relay = self._relays[name] = _Relay(name)
            self._keep_names()
        if relay.stream is not None:
            relay.stream.end(
                Conflict(
                    f"Another relay of the name {name} follows now.",
                    hint="If there are two, give each a name of its own.",
                )
            )
        guarded = self.guarded
        relay.last = self._new_id()
        first = {
            "epoch": self._epoch(), "guarded_hosts": list(guarded.hosts), "guard": guarded.guard,
            "gate": guarded.gate, "stale_limit": max(guarded.ttl, guarded.stale), "stream": relay.last,
        }  # fmt: skip
        relay.stream, relay.confirmed = Following(name, relay.last, first), -1
        relay.stir()
        return relay.stream

    def leave(self, following: Following) -> None:
        """A stream has ended; without goodbye its relay may go on by what it remembers."""
        following.end()
        relay = self._relays.get(following.relay)
        if relay is not None and relay.stream is following:
            relay.stream, relay.lost = None, self._now()

    def goodbye(self, name: str, stream_id: str) -> None:
        """A relay remembers nothing any more; nobody waits for it.

        :raises Conflict: that is not its latest stream.
        """
        relay = self._known(name, stream_id)
        if relay.stream is not None:
            relay.stream.end()
        self._drop(relay)

    def confirm(self, name: str, stream_id: str, epoch: int) -> None:
        """A relay has forgotten whatever changes up to `epoch` touch.

        :raises Conflict: that is not its latest stream, or there is no such epoch yet.
        """
        relay = self._known(name, stream_id)
        if epoch > self._epoch():
            raise Conflict(f"There is no epoch {epoch} yet, so it cannot be confirmed.")
        relay.confirmed = max(relay.confirmed, epoch)
        relay.stir()

    def _known(self, name: str, stream_id: str) -> _Relay:
        relay = self._relays.get(name)
        if relay is None or relay.last != stream_id:
            raise Conflict(f"That is not the latest stream of the relay {name}.", hint="Follow the changes anew.")
        return relay

    def _drop(self, relay: _Relay) -> None:
        relay.gone = True
        relay.stir()
        self._relays.pop(relay.name, None)
        self._keep_names()

    def _keep_names(self) -> None:
        if self._memory is None:
            return
        try:
            write_atomic(self._memory, json.dumps(sorted(self._relays)).encode())
        except OSError as error:
            log.error(
                "%s cannot be written (%s); after a restart changes will not wait for relays that are away.",
                self._memory, error.strerror,
            )  # fmt: skip

    def _forget_stale(self) -> None:
        """What relays remembered that were lost so long ago may not be used any more, so nobody waits for them."""
        limit = self._now() - max(self.guarded.ttl, self.guarded.stale) - self._patience  # theirs may begin later
        for relay in [relay for relay in self._relays.values() if relay.stream is None and relay.lost < limit]:
            self._drop(relay)

    # Obedience

    async def flush(self, epoch: int, requester: str = "", device: str = "") -> None:
        """Have every relay forget what it remembers, and wait until it has.

        :param epoch: the number of the policy that is in force now.
        :param requester: bare JID; only decisions about it are concerned. Empty for all.
        :param device: bare JID; likewise.
        :raises NotConfirmed: a relay has not confirmed it in time.
        """
        self._forget_stale()
        relays = list(self._relays.values())
        for relay in relays:  # without waiting in between, so changes are told in the order in which they were made
            if relay.stream is not None:
                relay.stream.tell(epoch, requester, device)
        reasons = await asyncio.gather(*(self._obeyed(relay, epoch) for relay in relays))
        silent = [f"the relay {relay.name} ({why})" for relay, why in zip(relays, reasons, strict=True) if why]
        if silent:
            raise NotConfirmed(
                f"{' and '.join(silent)} {'has' if len(silent) == 1 else 'have'} not confirmed it, so partners there "
                "may be judged by the policy from before.",
                hint="A relay that comes back forgets everything first; one that ends says goodbye.",
            )

    async def _obeyed(self, relay: _Relay, epoch: int) -> str:
        """Why a relay does not obey a change yet, or the empty string."""
        try:
            async with asyncio.timeout(self._patience):
                while relay.confirmed < epoch and not relay.gone:
                    await relay.news.wait()
        except TimeoutError:
            return "its stream is lost" if relay.stream is None else f"no answer within {self._patience:g} s"
        return ""

    # Reports

    def is_news(self, name: str, batch: str) -> bool:
        """Whether a batch of events is another than this relay reported last: it may not have heard our answer."""
        if batch and self._batches.get(name) == batch:
            return False
        self._batches[name] = batch
        self._batches.move_to_end(name)
        if len(self._batches) > MAX_RELAYS:
            self._batches.popitem(last=False)
        return True

    # Figures

    def states(self) -> dict[str, float]:
        """How many relays follow, and how many are lost but may remember."""
        self._forget_stale()
        following = sum(relay.stream is not None for relay in self._relays.values())
        return {"following": following, "lost": len(self._relays) - following}


def _names(memory: Path | None) -> list[str]:
    """The relays that may remember decisions from before we were started."""
    if memory is None or not memory.exists():
        return []
    try:
        found = json.loads(memory.read_bytes())
        return [name for name in found if isinstance(name, str)][:MAX_RELAYS]
    except (OSError, ValueError, TypeError) as error:
        log.error("%s cannot be read (%s); changes do not wait for relays until they follow.", memory, error)
        return []
