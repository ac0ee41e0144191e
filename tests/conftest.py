"""Fixtures for every test."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def _no_deployment_of_the_user() -> Iterator[None]:
    """No test may find a deployment of whoever runs the tests."""
    saved = os.environ.pop("STANZAGATE_SOCKET", None)
    yield
    if saved is not None:
        os.environ["STANZAGATE_SOCKET"] = saved


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What runs in one process: all tests on one kind of server, which share their servers; else those of a file."""
    for item in items:
        params = getattr(item, "callspec", None)
        kinds = [value for value in (params.params.values() if params else ()) if value in ("prosody", "ejabberd")]
        item.add_marker(pytest.mark.xdist_group(kinds[0] if kinds else item.path.name))
