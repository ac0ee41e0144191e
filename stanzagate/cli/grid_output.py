"""Showing what a change of the grid did."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from stanzagate.cli import output


def change(answer: dict[str, Any], *, as_json: bool) -> None:
    """What a change did, or would do: in words, with who loses and gains which rights."""
    if as_json:
        output.document(answer)
        return
    if answer["dry_run"]:
        output.say("Nothing was changed (--dry-run). It would be:")
    output.say(answer["summary"])
    for verb, rights, count in (("loses", "loses", "losses"), ("gains", "gains", "won")):
        for line in _effects(verb, answer[rights], answer[count]):
            output.say(line)


def _effects(verb: str, rights: Sequence[dict[str, Any]], count: int) -> Iterator[str]:
    for right in rights:
        yield f"  {verb}  {right['jid']}  {right['action']}  {right['topic']}"
    if count > len(rights):
        yield f"  {verb}  … and {count - len(rights)} more"
