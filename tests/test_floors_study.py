"""The study of floors: classes at random, and what README says of its record."""

import re
from pathlib import Path

import pytest
import torch

from mldemo.data.sets import IdxFolder
from mldemo.metrics.draws import apportion, matched_draws
from mldemo.studies.floors import KINDS, FewClasses, Floors, perfect_scores, random_classes
from mldemo.studies.judged import FewMedia
from mldemo.studies.study import read_record

TABLE = ((16, 2000), (32, 2000), (64, 2000), (128, 1000))  # columns


def test_classes_at_random_are_a_multinomial_sample_of_the_training_classes(
    idx_folder: Path,
) -> None:
    """Means n p and variances n p (1 - p) of the numbers, over seeds."""
    data = IdxFolder(idx_folder)
    labels = data.labels("train")
    assert labels is not None
    shares = torch.bincount(labels) / len(labels)
    drawn = [random_classes(data, 200, seed) for seed in range(300)]
    numbers = torch.stack([torch.bincount(x, minlength=len(shares)) for x in drawn]).double()
    assert (numbers.mean(0) - 200 * shares).abs().max() < 1.5  # 4 standard errors
    expected = 200 * shares * (1 - shares)
    assert (numbers.var(0) / expected - 1).abs().max() < 0.35
    assert torch.equal(drawn[3], random_classes(data, 200, 3))


def test_a_draw_has_the_classes_that_it_is_given() -> None:
    data = FewClasses()
    pool, like = data.labels("validation"), random_classes(data, 30, 5)
    (chosen,) = matched_draws(pool, like, 30, 1, 5)
    assert torch.equal(torch.bincount(pool[chosen]), torch.bincount(like))
    assert apportion(like, 30).tolist() == torch.bincount(like).tolist()
    assert len(chosen.unique()) == 30


def test_data_without_classes_are_named() -> None:
    with pytest.raises(ValueError, match="material has no classes"):
        random_classes(FewMedia(), 30, 1)


def test_readme_shows_a_perfect_sampler_beside_the_floor() -> None:
    """The row of the table is the record's; both maps agree that class numbers cost FID."""
    scores = perfect_scores()
    record = read_record(Floors().record_path)
    rows = Floors().rows(record)
    for floor, row in zip(rows[::2], rows[1::2], strict=True):
        assert (floor["classes"], row["classes"]) == KINDS
        assert row["FID"] > floor["FID"]
        assert row["FID, second judge"] > floor["FID, second judge"]
    page = Path(__file__).resolve().parents[1].joinpath("README.md").read_text("utf-8")
    assert "(study `floors`, ten draws)" in page and len(record["seeds"]) == 10
    (line,) = re.findall(r"^\| a perfect sampler \|  \| (.+) \|$", page, re.M)
    wanted = [scores["mnist", min(n, 32), m]["fid"] for n, m in TABLE]
    assert line.split(" | ") == [f"{mean:.1f} ± {sd:.1f}" for mean, sd in wanted]
