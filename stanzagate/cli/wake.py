"""``stanzagate wake``: a connection request to one device, or to a group of them."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable
from typing import Annotated, Any

import typer

from component.base.errors import StanzagateError
from stanzagate.cli import output, progress
from stanzagate.cli.client import Client, lines_of, segment
from stanzagate.cli.options import AsJson, Directory, Socket, service

ACCEPTED = "accepted"
RATE = "50/s"
SLACK_SECONDS = 60.0
"""The service may need so much longer than the device has, because others are first."""

LONGEST_SECONDS = 600.0
SETTLE_SECONDS = 30.0
POLL_SECONDS = 0.1
_SECONDS = re.compile(r"(\d+(?:\.\d+)?)s?", re.ASCII)


def wake(
    ctx: typer.Context,
    *,
    device: Annotated[str | None, typer.Argument(metavar="DEVICE", show_default=False, help="Id or JID.")] = None,
    group: Annotated[
        str | None, typer.Option("--group", metavar="NAME", show_default=False, help="Wake every device of a group.")
    ] = None,
    timeout: Annotated[
        str | None,
        typer.Option("--timeout", metavar="S", show_default=False, help="Seconds to wait for each device."),
    ] = None,
    requester: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="REQUESTER",
            show_default=False,
            help="Decide as for this JID, not as for the operator.",
        ),
    ] = None,
    rate: Annotated[
        str | None,
        typer.Option(
            "--rate", metavar="R", show_default=False, help=f"With --group: N/s, N/min, unlimited; else {RATE}."
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="With --group: go on with what was interrupted.")] = False,
    as_json: AsJson = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:
    """Wake a device on the operator's authority, or a group of them. Exits with 1 unless all accepted.

    Ctrl-C interrupts a group; --resume goes on with those that are not done.

    Example:  stanzagate wake 00256D-0001 --timeout 5
    """
    if (device is None) == (group is None):
        raise typer.BadParameter("Name a DEVICE, or --group NAME.")
    seconds = None if timeout is None else _seconds(timeout)
    if group is not None:
        if requester is not None:
            raise typer.BadParameter("--as is for one device; a group is woken on the operator's authority.")
        body = {"group": group, "rate": rate or RATE, "resume": resume, "timeout": seconds}
        with service(ctx, directory, socket) as client:
            _Group(client, body, as_json).run()
        return
    if rate is not None or resume:
        raise typer.BadParameter("--rate and --resume are for a --group.")
    body = {"device": device, "requester": requester, "timeout": seconds}
    patience = (LONGEST_SECONDS if seconds is None else seconds) + SLACK_SECONDS
    with service(ctx, directory, socket) as client:
        result = client.send("POST", "/v1/wakes", body=body, patience=patience)
    if as_json:
        output.document(result)
    else:
        output.say(_line(result))
    if result["outcome"] != ACCEPTED:
        raise typer.Exit(1)


def _seconds(text: str) -> float:
    match = _SECONDS.fullmatch(text.strip())
    if match is None or not 0 < float(match[1]) <= LONGEST_SECONDS:
        raise typer.BadParameter(f"--timeout is a number of seconds up to {LONGEST_SECONDS:g}, not {text!r}.")
    return float(match[1])


def _line(result: dict[str, Any]) -> str:
    return f"{result['device']}  {result['outcome']}  {result['elapsed_ms']} ms  {result['detail']}"


class _Group:
    """One run over a group: a line for each device, then a summary."""

    def __init__(self, client: Client, body: dict[str, Any], as_json: bool) -> None:
        self._client = client
        self._body = body
        self._as_json = as_json
        self._results: list[dict[str, Any]] = []
        self._outcomes: Counter[str] = Counter()
        self._campaign: dict[str, Any] = {}
        self._interrupted = False
        self._failure: StanzagateError | None = None

    def run(self) -> None:
        """Wake them all, or as many as the user lets us."""
        try:
            self._woken()
        except (KeyboardInterrupt, BrokenPipeError):  # whoever reads our output may have gone, too
            self._interrupted = True
        except StanzagateError as error:
            if not self._campaign:
                raise
            self._interrupted, self._failure = True, error
        if self._interrupted:
            self._look_again()
        try:
            self._summarise()
        finally:
            if self._interrupted:
                self._tell_how_to_go_on()
        if self._failure is not None:
            raise self._failure
        if self._interrupted or set(self._campaign["outcomes"]) - {ACCEPTED}:
            raise typer.Exit(1)

    def _woken(self) -> None:
        with (
            self._client.stream("POST", "/v1/campaigns", body=self._body, patience=None) as response,
            progress.counting(not self._as_json) as bar,
        ):
            for item in lines_of(response):
                if "campaign" in item:
                    self._campaign = item["campaign"]
                    bar(self._campaign["total"], self._campaign["done"], "")
                elif "result" in item:
                    self._take(item["result"], bar)

    def _take(self, result: dict[str, Any], bar: Callable[[int, int, str], None]) -> None:
        self._outcomes[result["outcome"]] += 1
        if self._as_json:
            self._results.append(result)
        bar(self._campaign["total"], self._campaign["done"] + self._outcomes.total(), _line(result))

    def _look_again(self) -> None:
        """After an interruption the service knows better than we how far it is, once it has all answers."""
        if not self._campaign:
            return
        try:
            latest = self._settled()
        except (StanzagateError, KeyboardInterrupt):
            done = self._campaign["done"] + self._outcomes.total()
            outcomes = Counter(self._campaign["outcomes"]) + self._outcomes
            self._campaign |= {"done": done, "left": self._campaign["total"] - done, "outcomes": dict(outcomes)}
        else:
            if latest["id"] == self._campaign["id"]:
                self._campaign = latest

    def _settled(self) -> dict[str, Any]:
        """The campaign, when devices that were asked already have answered; else it could not be resumed at once."""
        deadline = time.monotonic() + SETTLE_SECONDS
        told = False
        while True:
            latest: dict[str, Any] = self._client.get(f"/v1/campaigns/{segment(self._body['group'])}")
            if latest["state"] != "running" or time.monotonic() > deadline:
                return latest
            if not told:
                output.tell("stanzagate: interrupted; waiting for the devices that were asked already")
                told = True
            time.sleep(POLL_SECONDS)

    def _summarise(self) -> None:
        campaign = self._campaign
        summary = {name: campaign.get(name) for name in ("id", "group", "total", "done", "left", "outcomes")} | {
            "interrupted": self._interrupted
        }
        if self._as_json:
            output.document({"results": self._results, "summary": summary})
        elif campaign:
            outcomes = ", ".join(f"{count} {name}" for name, count in sorted(campaign["outcomes"].items())) or "none"
            output.say(f"{campaign['group']}: {campaign['done']} of {campaign['total']} done: {outcomes}")

    def _tell_how_to_go_on(self) -> None:
        if not self._campaign:
            output.tell("stanzagate: interrupted before anything was woken")
            return
        done, left = self._campaign["done"], self._campaign["left"]
        told = "1 device is" if done == 1 else f"{done} devices are"
        output.tell(f"stanzagate: interrupted: {told} done, {left} {'is' if left == 1 else 'are'} not")
        output.tell(
            f"  Go on with: stanzagate wake --group {self._body['group']} --rate {self._body['rate']} --resume"
        )
