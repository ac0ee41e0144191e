"""Who is connected and who has logged in, whatever order the events come in."""

from __future__ import annotations

from component.base.clientsessions import ClientSession
from component.base.jid import prepare
from grid.sessions import Sessions

HOST = "grid.test"
SOC1 = prepare("soc1@grid.test/a")
SOC1_B = prepare("soc1@grid.test/b")
SOC2 = prepare("soc2@grid.test/a")


def session(sid: str, jid=SOC1, since: float = 1.0) -> ClientSession:
    return ClientSession(sid, jid, since, "EXTERNAL", "ab" * 32, (b"der",))


def watched() -> tuple[Sessions, list[tuple[str, bool]]]:
    sessions = Sessions(lambda: 7.0)
    moves: list[tuple[str, bool]] = []
    sessions.on_presence.append(lambda bare, there: moves.append((bare, there)))
    return sessions, moves


def test_a_login_ends_with_its_session() -> None:
    sessions, moves = watched()
    sessions.up(HOST, session("1"))
    assert sessions.login(SOC1) and not sessions.login(SOC1)
    assert sessions.logins("soc1@grid.test") == [("soc1@grid.test/a", 7.0)]
    sessions.down(HOST, session("1"))
    assert not sessions.logged_in(SOC1)
    assert moves == [("soc1@grid.test", True), ("soc1@grid.test", False)]


def test_a_session_that_takes_over_a_resource_has_not_logged_in() -> None:
    """ejabberd tells of the new session before the old one has gone."""
    sessions, moves = watched()
    sessions.up(HOST, session("1"))
    sessions.login(SOC1)
    sessions.up(HOST, session("2", since=2.0))
    sessions.down(HOST, session("1"))
    assert not sessions.logged_in(SOC1)
    assert sessions.login(SOC1)
    assert moves == [("soc1@grid.test", True)]


def test_the_end_of_another_session_changes_nothing() -> None:
    sessions, _ = watched()
    sessions.up(HOST, session("1"))
    sessions.up(HOST, session("2", SOC1_B))
    sessions.login(SOC1)
    sessions.login(SOC1_B)
    sessions.down(HOST, session("2", SOC1_B))
    assert sessions.logged_in(SOC1) and not sessions.logged_in(SOC1_B)
    assert sessions.online("soc1@grid.test")


def test_a_snapshot_ends_what_it_does_not_name_and_keeps_the_rest() -> None:
    sessions, moves = watched()
    sessions.up(HOST, session("1"))
    sessions.up(HOST, session("2", SOC2))
    sessions.login(SOC1)
    sessions.login(SOC2)
    sessions.forget(HOST)
    assert sessions.logged_in(SOC1) and not sessions.told
    sessions.replace(HOST, [session("2", SOC2), session("3", SOC1_B)])
    assert sessions.logged_in(SOC2) and not sessions.logged_in(SOC1)
    assert sessions.told and sessions.online("soc1@grid.test")
    assert moves[2:] == [("soc1@grid.test", False), ("soc1@grid.test", True)]


def test_a_resource_that_was_taken_over_while_nobody_told_has_not_logged_in() -> None:
    sessions, _ = watched()
    sessions.up(HOST, session("1"))
    sessions.login(SOC1)
    sessions.forget(HOST)
    sessions.replace(HOST, [session("2", SOC1)])
    assert not sessions.logged_in(SOC1)


def test_without_sessions_a_login_lasts_until_the_logout() -> None:
    sessions, _ = watched()
    assert sessions.login(SOC1)
    sessions.replace(HOST, [])
    assert sessions.logged_in(SOC1)
    assert sessions.logout(SOC1) and not sessions.logout(SOC1)


def test_of_two_sessions_with_one_resource_the_later_one_speaks() -> None:
    sessions, _ = watched()
    sessions.up(HOST, session("2", since=9.0))
    sessions.up(HOST, ClientSession("1", SOC1, 3.0))
    assert sessions.credential(SOC1).fingerprint == "ab" * 32
    assert sessions.credential(SOC2).fingerprint == ""


def test_only_a_session_that_may_be_quiet_has_to_be_lifted() -> None:
    sessions, _ = watched()
    sessions.up(HOST, session("1"))
    assert not sessions.quiet(SOC1)
    sessions.mark_quiet(SOC1, True)
    assert sessions.quiet(SOC1)
    sessions.mark_quiet(SOC1, False)
    assert not sessions.quiet(SOC1)
    sessions.replace(HOST, [session("1"), session("2", SOC2)])  # the second one began while nobody told
    assert not sessions.quiet(SOC1) and sessions.quiet(SOC2)
    sessions.down(HOST, session("2", SOC2))
    sessions.up(HOST, session("3", SOC2))
    assert not sessions.quiet(SOC2)


def test_of_two_sessions_that_began_in_the_same_second_the_one_told_last_speaks() -> None:
    sessions, _ = watched()
    sessions.up(HOST, ClientSession("1", SOC1, 5.0, "SCRAM-SHA-256"))
    sessions.up(HOST, session("2", since=5.0))
    assert sessions.credential(SOC1).mechanism == "EXTERNAL"
    sessions.login(SOC1)
    sessions.down(HOST, ClientSession("1", SOC1, 5.0, "SCRAM-SHA-256"))
    assert sessions.logged_in(SOC1)
