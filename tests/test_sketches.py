"""Sketches: read from a link, moved and stretched by what a variation says."""

import base64

import numpy as np
import pytest
import torch

from mldemo.data import sketches
from mldemo.data.sets import PARTS, DataSet
from mldemo.data.sketches import Sketches, sketches_from_text


def text_of(cells: np.ndarray) -> str:
    return base64.urlsafe_b64encode(np.packbits(cells).tobytes()).decode().rstrip("=")


def drawn() -> np.ndarray:
    """A disc in the middle, and a bar."""
    rows, columns = np.mgrid[0:32, 0:32] - 15.5
    return np.stack([np.hypot(rows, columns) < 6, (abs(rows) < 8) & (abs(columns) < 2)])


def test_texts_become_cells_and_bad_ones_sentences() -> None:
    cells = drawn()
    assert np.array_equal(sketches_from_text("".join(map(text_of, cells))), cells)
    for text in ("", "A", text_of(cells[0]) * 9, "!" * 171):
        with pytest.raises(ValueError, match="171 characters"):
            sketches_from_text(text)
    with pytest.raises(ValueError, match="a sketch is empty"):
        sketches_from_text(text_of(cells[0]) + "A" * 171)
    with pytest.raises(ValueError, match=r"sketches \(S, 32, 32\) needed"):
        Sketches(cells[0])


def test_a_variation_is_a_sketch_moved_and_stretched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a disc: centre and area, measured on the field, are those that the map of the variation
    says; both sketches occur; a variation depends on (seed, i) alone."""
    data = Sketches(drawn()[:1])
    fields = data.fields("train", 64, 30)
    x = (torch.arange(64) + 0.5) / 32 - 1
    for i, field in enumerate(fields):
        _, matrix = data._variation(i)
        ink = ((field[0] + 1) / 2).double()
        area = float(ink.sum())
        # the map takes points of the result into the sketch, whose disc lies around 0
        centre = torch.linalg.solve(matrix[:, :2], -matrix[:, 2])
        found = torch.stack([(ink.sum(0) * x).sum(), (ink.sum(1) * x).sum()]) / area
        torch.testing.assert_close(found.float(), centre, atol=0.02, rtol=0)
        assert centre.abs().max() <= 2 * sketches.SHIFT + 1e-6
        cells = float(drawn()[0].sum()) * 4 / abs(float(torch.linalg.det(matrix[:, :2])))
        assert area == pytest.approx(cells, rel=0.04)
    both = Sketches(drawn())
    assert {both._variation(i)[0] for i in range(20)} == {0, 1}
    again = Sketches(drawn()[:1]).fields("train", 64, 9)
    assert torch.equal(fields[7:9], again[7:9])
    assert not torch.equal(fields, Sketches(drawn()[:1], seed=1).fields("train", 64, 30))


def test_its_parts_share_no_variation_and_need_no_name() -> None:
    data = Sketches(drawn())
    assert len(set.union(*map(set, data.samples.values()))) == sum(map(data.count, PARTS))
    assert data.fields("validation", 16).shape == (100, 1, 16, 16)
    assert Sketches not in DataSet.known.values()
    assert float(data.fields("train", 32, 50).abs().max()) < 2
