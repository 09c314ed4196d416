"""Records of evaluations: the file that holds them, and the table made of them."""

import json
import shutil
from pathlib import Path

import pytest

from mldemo.metrics import zoo
from mldemo.metrics.table import table
from mldemo.store.manifest import BUNDLE
from mldemo.studies.evaluated import ROWS as SHIPPED


def _row(name: str, resolution: int, fid: float, count: int = 2000, **more: object) -> dict:
    names = ("fid", "fid_second", "precision", "recall", "vendi_features", "energy_distance")
    row = {"checkpoint": name, "prior": "bessel", "data": "d", "part": "test", "test": 5000}
    row |= {"resolution": resolution, "count": count, "steps": 20, "sampler": "dpmpp2m"}
    row |= {"guidance": 1.0, "levels": [[16, 10], [32, 10]], "features": "own", "draws": 5}
    row |= {"metrics": dict.fromkeys(names, 0.25) | {"fid": fid}, "nearest": {"ratio": 1.02}}
    row |= {"floor": dict.fromkeys(names, 1.5), "floor_sd": dict.fromkeys(names, 0.12)}
    return row | more


def test_the_table() -> None:
    rows = [_row("a", 16, 9.9), _row("a", 16, 2.04), _row("a", 64, 3.96), _row("b", 32, 7.0)]
    rows += [_row("b", 32, 6.0, guidance=1.25), _row("b", 128, 5.0, 1000, guidance=1.25)]
    rows += [_row("b", 64, 8.0, prior="fno")]
    lines = table(rows).splitlines()
    said = "FID against 5,000 test images of d; dpmpp2m, 20 steps; guidance 1 / 1.25."
    assert lines[0].startswith(said)
    assert lines[2:8] == [
        "| checkpoint | prior | 16² (2,000) | 32² (2,000) | 64² (2,000) | 128² (1,000) |",
        "| --- | --- | --- | --- | --- | --- |",
        "| floor: unseen images |  | 1.5 ± 0.1 | 1.5 ± 0.1 | 1.5 ± 0.1 | 1.5 ± 0.1 |",
        "| `a` | bessel | 2.0 / – |  | *4.0 / –* |  |",
        "| `b` | bessel |  | 7.0 / 6.0 |  | *– / 5.0* |",
        "|  | fno |  |  | *8.0 / –* |  |",
    ]
    assert lines[11] == (
        "| `a` | bessel | 1 | 16² | 2.0 | 1.5 ± 0.1 | 0.2 | 1.5 ± 0.1 | 0.25 | 1.50 ± 0.12 "
        "| 0.25 | 1.50 ± 0.12 | 0.2 | 1.5 ± 0.1 | 1.02 |"
    )
    perfect = {("d", 16, 2000): {"fid": (1.96, 0.44)}, ("d", 32, 2000): {"fid": (2.5, 0.5)}}
    perfect |= {("e", 32, 1000): {"fid": (9.0, 1.0)}, ("d", 128, 1000): {"fid": (9.0, 1.0)}}
    shown = table(rows, perfect).splitlines()  # beyond 32², all is compared there
    assert shown[5] == "| a perfect sampler |  | 2.0 ± 0.4 | 2.5 ± 0.5 | 2.5 ± 0.5 |  |"
    assert shown[:5] + shown[6:] == lines
    chosen = [row | {"part": "validation"} for row in rows]
    assert table(chosen, perfect) == table(chosen)
    other = table([_row("m", 16, 9.0, features="fixed map of other data")]).splitlines()
    assert other[0].startswith("Energy distance against 5,000")
    assert other[5] == "| `m` | bessel | 0.2500 |"


def test_two_processes_add_to_one_file(tmp_path: Path) -> None:
    """Each keeps what the other has added since it was opened."""
    rows = json.loads(SHIPPED.read_text("utf-8"))["evaluations"][:3]
    path = tmp_path / "records.json"
    first, second = zoo.Records(path), zoo.Records(path)
    for records, row in ((first, rows[0]), (second, rows[1]), (first, rows[2])):
        records.add(row)
    assert zoo.Records(path).rows == rows


@pytest.mark.parametrize("lost", ["sha256", "resolution", "metrics"])
def test_a_record_without_a_part_is_refused(tmp_path: Path, lost: str) -> None:
    rows = json.loads(SHIPPED.read_text("utf-8"))["evaluations"][:2]
    del rows[1][lost]
    path = tmp_path / "records.json"
    path.write_text(json.dumps({"evaluations": rows}))
    with pytest.raises(ValueError, match=f"holds no evaluations: .*{lost}"):
        zoo.Records(path)


def test_a_file_that_holds_no_records_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    shutil.copy(BUNDLE / "manifest.json", path)
    with pytest.raises(ValueError, match=r"manifest\.json holds no evaluations"):
        zoo.Records(path)
