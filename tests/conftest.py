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
