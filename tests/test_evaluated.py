"""The evaluation as Evidence shows it; records that come while the page is served."""

import csv
import html
import io
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from mldemo.store.manifest import BUNDLE, read_manifest
from mldemo.studies import study
from mldemo.studies.evaluated import ROWS, Evaluated
from mldemo.studies.report import finished, table
from mldemo.ui.server.live import Live
from mldemo.ui.server.opening import choices
from mldemo.ui.tab import Place
from mldemo.ui.tabs.evidence import evidence
from mldemo.ui.wire import END, decode

PLACE = Place(torch.device("cpu"), BUNDLE)


def rows() -> dict[tuple, dict]:
    """The rows of today's files as they are kept, of the digits."""
    files = read_manifest()["files"]
    kept = json.loads(ROWS.read_text("utf-8"))["evaluations"]
    kept = [r for r in kept if r["data"] == "mnist"]
    found = {(r["checkpoint"], r["prior"], r["resolution"], r["guidance"]): r for r in kept}
    return {k: r for k, r in found.items() if files[k[0]]["sha256"] == r["sha256"]}


def test_every_row_is_in_the_table_with_its_floors() -> None:
    evaluated = Evaluated()
    record, kept = evaluated.record(), rows()
    assert record is not None and record["date"] == max(r["date"] for r in kept.values())
    text = list(csv.DictReader(io.StringIO(table(evaluated, record))))
    assert len(text) == len(kept) > 1
    for row in text:
        place = row["checkpoint"], row["prior"], int(row["level"]), float(row["guidance"])
        source = kept[place]
        assert float(row["FID"]) == source["metrics"]["fid"]
        assert float(row["FID, floor sd"]) == source["floor_sd"]["fid"]
        assert float(row["FID, second judge"]) == source["metrics"]["fid_second"]
        for column, name in (("precision",) * 2, ("recall",) * 2, ("Vendi", "vendi_features")):
            assert float(row[column]) == source["metrics"][name]
            assert float(row[f"{column}, floor"]) == source["floor"][name]
        assert float(row["nearest"]) == source["nearest"]["ratio"]


def test_rows_of_other_settings_are_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before, kept = Evaluated().record(), json.loads(ROWS.read_text("utf-8"))["evaluations"]
    for other in ({"sampler": "heun"}, {"steps": 5}, {"seed": 1}, {"part": "validation"}):
        kept.append(kept[0] | other | {"metrics": kept[0]["metrics"] | {"fid": 99.9}})
    path = tmp_path / "evaluation.json"
    path.write_text(json.dumps({"evaluations": kept}))
    monkeypatch.setattr("mldemo.studies.evaluated.ROWS", path)
    assert Evaluated().record() == before


def test_its_sentence_and_its_band_are_those_of_the_rows() -> None:
    evaluated = Evaluated()
    record = evaluated.record()
    assert record is not None
    fids: dict[tuple[str, float], list[float]] = {}
    for r in rows().values():
        fids.setdefault((r["checkpoint"], r["guidance"]), []).append(r["metrics"]["fid"])
    counts = sorted({r["count"] for r in rows().values()})
    assert f"FID of {counts[0]:,} to {counts[-1]:,} samples: " in record["conclusion"]
    for (_, g), found in fids.items():
        assert f"{min(found):.1f} to {max(found):.1f} at g = {g:g}" in record["conclusion"]
    nearer = min(r["nearest"]["ratio"] for r in rows().values()) < 1
    assert ("no nearer" in record["conclusion"]) != nearer
    for panel, g in (("x", 1.0), ("x2", 1.25)):
        drawn = [t for t in evaluated.figure(record).data if t.xaxis == panel]
        lines, (band,) = [t for t in drawn if not t.fill], [t for t in drawn if t.fill]
        bessel = next(t for t in lines if t.name in ("bessel", "mnist-family-64, bessel"))
        kept = rows()
        for n, y in zip(bessel.x, bessel.y, strict=True):
            assert y == kept["mnist-family-64", "bessel", n, g]["metrics"]["fid"]
        floor = lines[-1]
        half = len(floor.x)
        assert band.name == floor.name and band.meta == floor.meta
        above = [y + s for y, s in zip(floor.y, floor.error_y.array, strict=True)]
        below = [y - s for y, s in zip(floor.y, floor.error_y.array, strict=True)]
        assert list(band.y[:half]) == above and list(band.y[half:]) == below[::-1]


def test_rows_of_other_files_are_not_shown(tmp_path: Path) -> None:
    """A folder whose checkpoints have another sha256, and one without any."""
    manifest = json.loads((BUNDLE / "manifest.json").read_text("utf-8"))
    for name in {checkpoint for checkpoint, *_ in rows()}:
        manifest["files"][name]["sha256"] = "0" * 64
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    for folder in (tmp_path, tmp_path / "nowhere"):
        assert Evaluated(folder).record() is None
        assert "evaluation" not in {one.name for one, _ in finished(folder)}
        place = Place(torch.device("cpu"), folder)
        assert "evaluation" not in {name for _, name in evidence.questions(place)}


def test_a_record_is_offered_as_soon_as_it_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head of the next page has it, and the server accepts its name."""
    shutil.copy(study.RECORDS / "linear.json", tmp_path)
    monkeypatch.setattr(evidence, "RECORDS", tmp_path)
    tab = evidence.tab(PLACE)

    def offered() -> dict:
        found = re.search('content="(.*)"', choices([tab]))
        assert found
        return json.loads(html.unescape(found[1]))["evidence"]["study"]

    first, before = offered()["values"], evidence.stamp(PLACE)
    assert "linear" in first and "solutions" not in first
    with pytest.raises(ValueError, match="study must be one of"):
        tab.fields[0].read("solutions")
    shutil.copy(study.RECORDS / "solutions.json", tmp_path)
    assert offered()["values"] == [*first, "solutions"]
    assert offered()["labels"][-1].startswith("Where does the reverse equation")
    assert tab.fields[0].read("solutions") == "solutions"
    assert evidence.stamp(PLACE) != before


def test_equal_runs_are_computed_anew_when_the_stamp_changes() -> None:
    asked, now = [], ["a"]

    def source(query):
        asked.append(dict(query))
        return iter([({"kind": "head", "steps": 0, "said": now[0]}, {}), END])

    live = Live({"tab": source}, stamps={"tab": lambda: now[0]})
    route = Route("/{tab}", live.answer)
    with TestClient(Starlette(routes=[route])) as client:

        def said() -> str:
            return next(decode(client.get("/tab").content))[0]["said"]

        assert [said(), said()] == ["a", "a"] and len(asked) == 1
        now[0] = "b"
        assert said() == "b" and len(asked) == 2
