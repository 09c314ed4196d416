"""Draws with the classes of another sample, by hand."""

import numpy as np
import pytest
import torch

from mldemo.metrics.draws import apportion, matched_draws

LIKE = torch.tensor([0] * 5 + [1] * 3 + [3] * 2)  # nobody is of class 2


@pytest.mark.parametrize(
    ("count", "numbers"),
    [(10, [5, 3, 0, 2]), (4, [2, 1, 0, 1]), (1, [1, 0, 0, 0]), (7, [4, 2, 0, 1])],
)
def test_largest_remainders(count: int, numbers: list[int]) -> None:
    """Of 4: 2, 1.2, 0 and 0.8. Of 7: 3.5, 2.1, 0 and 1.4."""
    assert apportion(LIKE, count).tolist() == numbers


def test_every_image_of_a_class_is_as_likely_as_another() -> None:
    """10 of each draw of 20 are of class 0, of which the pool holds 20: χ² of 400 draws."""
    pool = torch.tensor([0] * 20 + [1] * 12 + [2] * 9 + [3] * 8)
    draws = matched_draws(pool, LIKE, 20, 400)
    counts = np.bincount(torch.cat(draws).numpy(), minlength=len(pool))
    assert not counts[32:41].any()  # class 2
    expected = 400 * 10 / 20
    # without repetition the variance of a count is half of the multinomial one
    assert 5 < ((counts[:20] - expected) ** 2 / (expected / 2)).sum() * 19 / 20 < 45
    again = matched_draws(pool, LIKE, 20, 3)
    assert all(torch.equal(a, b) for a, b in zip(again, draws, strict=False))
    assert not torch.equal(matched_draws(pool, LIKE, 20, 1, seed=1)[0], draws[0])


def test_too_few_of_a_class() -> None:
    """Of 3 of class 3, a fifth of the draw: 15 and not more."""
    pool = torch.tensor([0] * 90 + [1] * 90 + [3] * 3)
    assert len(matched_draws(pool, LIKE, 15, 1)[0]) == 15
    with pytest.raises(ValueError, match=r"at most about 15, .* 183 unseen .* got 20"):
        matched_draws(pool, LIKE, 20, 1)
