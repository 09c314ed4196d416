"""The bench of a class: all its visitors are counted, in every try, beside greedy ones."""

from typing import Any

import pytest

from mldemo.store.manifest import BUNDLE
from mldemo.studies.bench_class import together


def rows(**options: Any) -> dict[str, dict[str, Any]]:
    return {row["what"]: row for row in together(BUNDLE, **options)}


def test_every_visitor_of_every_try_is_counted() -> None:
    found = rows(visitors=3, greedy=1, tries=2)
    assert found["visits"] | {"served": 6, "refused": 0, "lost": 0, "tries": 2} == found["visits"]
    first, end = found["seconds_to_first"], found["seconds_to_end"]
    assert 0 < first["median"] <= first["p90"] <= first["max"] <= end["max"]
    assert found["core_seconds"]["all"] > 0
    memory = found["megabytes"]
    assert memory["before"] > 100 and memory["after"] > 100


@pytest.mark.parametrize(
    ("name", "value"), [("visitors", 0), ("visitors", 1001), ("greedy", -1), ("tries", 101)]
)
def test_numbers_out_of_range(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{name} must be from .* got {value}"):
        rows(**{name: value})
