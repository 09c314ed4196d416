"""The study of what it would take: the power law, and what it says of known scores."""

import pytest

from mldemo.studies.scaling import IMAGES, PowerLaw, Scaling


def test_a_power_law_is_found_and_inverted() -> None:
    """From exact values, and in the logarithmic mean of values off by equal factors."""
    law = PowerLaw(limit=2.0, factor=900.0, exponent=0.4)
    images = (25_000, 100_000, 400_000)
    exact = [law.score(n) for n in images]
    assert exact[0] == pytest.approx(2 + 900 / 25_000**0.4, rel=1e-12)
    off = [2 + (score - 2) * factor for score in exact for factor in (0.8, 1.25)]
    for scores, at in ((exact, images), (off, [n for n in images for _ in range(2)])):
        found = PowerLaw.of(at, scores, 2.0)
        assert (found.factor, found.exponent) == pytest.approx((900.0, 0.4), rel=1e-9)
    assert law.score(law.images_for(4.1)) == pytest.approx(4.1, rel=1e-9)


def test_a_law_that_does_not_fall_reaches_nothing() -> None:
    assert PowerLaw(2.0, 10.0, 0.0).images_for(3.0) == float("inf")
    assert PowerLaw(2.0, 10.0, 1e-4).images_for(3.0) == float("inf")  # beyond all numbers


def test_scores_at_the_limit_have_no_law() -> None:
    with pytest.raises(ValueError, match=r"scores must be above 2, got 1\.9"):
        PowerLaw.of([10, 20], [3.0, 1.9], 2.0)


def _record() -> dict:
    """A record whose scores follow n^-1/2 above 2, for both sizes, with three seeds."""
    cells = {}
    for size, images in IMAGES.items():
        for seed in Scaling.seeds:
            for n in (*images, 4_000_000):
                shipped = n == 4_000_000
                cell = {"size": size, "images": n, "shipped": shipped, "CPU hours": n / 1e6}
                cell |= {
                    "fid": 2 + 5000 / n**0.5,
                    "fid_second": 3.0,
                    "floor": 1.5,
                    "floor_sd": 0.1,
                }
                cells[f"{size}, {n} images, seed {seed}"] = {"value": cell}
    inputs = {"images": IMAGES, "perfect": [2.0, 0.5], "aims": {"light": 3.0, "large": 1.0}}
    return {"seeds": list(Scaling.seeds), "inputs": inputs | {"level": 16}, "cells": cells}


def test_what_is_said_follows_from_the_law() -> None:
    """Light: 1.5 + 3 = 2 + 5000 n^-1/2 at n = 4 million; large: 2.5 at 100 million."""
    said = Scaling().conclusion(_record())
    light, large = said.split("The large network")
    for part, aim, images in ((light, "4.5", "4 million"), (large, "2.5", "100 million")):
        assert "b = 0.50 ± 0.00" in part and f"The aim, {aim}, would take {images}" in part
    assert "FID 33.6 ± 0.0 after 25,000 images, 17.8 ± 0.0 after 100,000 images" in large
    assert "spread is that of samples) after 4 million, where the law says 4.5. The aim" in light
    assert "4 hours of this core" in light and "100 hours of this core" in large
    rows = Scaling().rows(_record())
    assert [r["law"] for r in rows] == pytest.approx([r["fid"] for r in rows])
    assert [r["CPU hours"] is None for r in rows] == [r["trained"] == "as shipped" for r in rows]


def test_the_range_is_that_of_single_seeds() -> None:
    """Excesses of half, once and twice the law's need a quarter, once and four times its n."""
    record = _record()
    for name, cell in record["cells"].items():
        factor = {"1": 2.0, "2": 0.5, "3": 1.0}[name[-1]]
        cell["value"]["fid"] = 2 + factor * (cell["value"]["fid"] - 2)
    light, _ = Scaling().conclusion(record).split("The large network")
    assert "would take 4 million (1 million to 16 million by single seeds)" in light
