"""Names that a URL would take for another place."""

from __future__ import annotations

import pytest

from component.base.errors import InputError
from grid.topics_names import topic_name, topic_or_subtopic


@pytest.mark.parametrize("name", [".", "..", "..."])
def test_a_name_of_dots_is_refused(name: str) -> None:
    """Nobody could show or delete such a topic: ``/v1/topics/..`` is ``/v1``."""
    with pytest.raises(InputError, match="another place"):
        topic_name(name)
    with pytest.raises(InputError, match="another place"):
        topic_or_subtopic(f"Topic-1.0/{name}")


def test_dots_within_a_name_are_fine() -> None:
    assert topic_name("a..b-1.0") == "a..b-1.0"
