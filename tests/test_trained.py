"""Races on the server without a page: records, ends, checkpoints that are kept and let go."""

import io
import json
import zipfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from mldemo.store import hub
from mldemo.store.checkpoints import BUNDLE
from mldemo.training import race
from mldemo.ui.server.trained import Trainings, packed
from mldemo.ui.tab import Place, source_of
from mldemo.ui.tabs.training import training
from mldemo.ui.tabs.watch import watch
from mldemo.ui.wire import MAGIC, Record, decode

PLACE = Place(torch.device("cpu"), BUNDLE)


@pytest.fixture(scope="module")
def records() -> Iterator[list[Record]]:
    """A whole race of a second on 8 and 16 with a smaller network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(race, "NETWORK", race.NETWORK | {"width": 8, "core_widths": [8, 16]})
        patch.setattr(training, "MARKS", 3)
        values = {"data": "mnist-small", "levels": "8-16", "seconds": 1, "prior": "bessel"}
        yield list(training.raced(values | {"seed": 7, "sketches": ""}))


def kinds(records: list[Record], kind: str) -> list[Record]:
    return [record for record in records if record[0]["kind"] == kind]


def test_a_race_is_two_heads_marks_of_both_and_an_end(records: list[Record]) -> None:
    heads = [meta for meta, _ in kinds(records, "head")]
    assert [head["track"] for head in heads] == [0, 1] and records[-1][0]["kind"] == "end"
    assert [[n for n, _ in head["plan"]] for head in heads] == [[8, 16], [16]]
    assert heads[0]["records"] >= len(records) / 2
    for track in (0, 1):
        own = [record for record in kinds(records, "frame") if record[0]["track"] == track]
        assert own[0][0]["step"] == 0 and own[-1][0]["step"] == 3
        assert own[0][0]["readings"]["error"] == 1 and own[-1][0]["readings"]["error"] < 1
        assert {n: a.shape for n, a in own[0][1].items()} == {
            "at8": (9, 8, 8),
            "at16": (9, 16, 16),
        }
        assert not np.array_equal(own[0][1]["at16"], own[-1][1]["at16"])


def test_stop_is_within_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """No record is waited for longer than `EVERY` and one step more: with EVERY = 0 each next one
    costs a step at most, and after the stream is closed none is taken."""
    monkeypatch.setattr(race, "NETWORK", race.NETWORK | {"width": 8, "core_widths": [8, 16]})
    monkeypatch.setattr(training, "EVERY", 0.0)
    values = {"data": "mnist-small", "levels": "8-16", "seconds": 30, "prior": "bessel"}
    stream = training.raced(values | {"seed": 7, "sketches": ""})
    taken, advance = [0], race.Training.advance

    def counted(run: race.Training) -> object:
        taken[0] += 1
        return advance(run)

    for meta, _ in stream:
        if meta["kind"] == "head" and meta["track"] == 1:
            break
    monkeypatch.setattr(race.Training, "advance", counted)
    seen = [(next(stream)[0]["kind"], taken[0]) for _ in range(60)]
    assert seen[-1][1] > 5
    assert all(later - before <= 1 for (_, before), (_, later) in pairwise(seen))
    stream.close()
    assert taken[0] == seen[-1][1]


def test_both_checkpoints_are_kept_and_can_be_watched(
    records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    ((meta, arrays),) = kinds(records, "trained")
    with zipfile.ZipFile(io.BytesIO(arrays["zip"].tobytes())) as archive:
        manifest = json.loads(archive.read("manifest.json"))
    assert set(manifest["files"]) == {"coarse-to-fine", "fine-only"}
    monkeypatch.setenv("MLDEMO_HUB_REPO", "some/where")  # which does not hold them
    assert not any(hub.pinned(manifest, entry) for entry in manifest["files"].values())
    query = {"trained": meta["names"][1], "n": "16", "count": "1", "steps": "2"}
    head = next(iter(source_of(watch.tab(PLACE), PLACE)(query)))[0]
    assert head["checkpoint"] == "fine-only" and head["levels"] == [16]
    assert head["python"] is None and head["command"] is None
    with pytest.raises(ValueError, match="trained on this page is gone"):
        list(source_of(watch.tab(PLACE), PLACE)(query | {"trained": "0" * 12 + "-fine-only"}))
    with pytest.raises(ValueError, match="base64url"):
        source_of(watch.tab(PLACE), PLACE)(query | {"trained": "../../etc"})


def test_the_command_trains_the_same_network(records: list[Record]) -> None:
    (first, _) = (meta for meta, _ in kinds(records, "head"))
    levels = ",".join(f"{n}:{steps}" for n, steps in first["plan"])
    assert first["command"].startswith(
        f"python -m mldemo train --data mnist-small --prior bessel --levels {levels} "
    )


def test_a_few_trainings_are_kept_and_the_oldest_goes(tmp_path: Path) -> None:
    kept = Trainings(2)

    def keep(text: str) -> str:
        folder = kept.begin()
        (folder / "manifest.json").write_text(text)
        return kept.keep(folder)

    first, second = keep("a"), keep("b")
    assert kept.find(f"{first}-x")[1] == "x" and keep("a") == first  # again: now the newest
    third = keep("c")
    with pytest.raises(ValueError, match="the server keeps the last 2"):
        kept.find(f"{second}-x")
    folder, _ = kept.find(f"{third}-x")
    assert sorted(p.name for p in folder.parent.iterdir()) == sorted([first, third])
    assert packed(folder) == packed(folder)
    for text in ("", "../x", f"{third[:11]}-x", third.upper()):
        with pytest.raises(ValueError, match="gone"):
            kept.find(text)


def test_no_race_on_a_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACE_ID", "a/b")
    with pytest.raises(ValueError, match="shows the recorded race only"):
        source_of(training.tab(PLACE), PLACE)({})


def test_the_recorded_race_is_small_and_of_the_defaults() -> None:
    raw = training.RECORDING.read_bytes()
    assert len(raw) < 1_000_000
    metas = [meta for meta, _ in decode(raw.removeprefix(MAGIC))]
    heads = [meta for meta in metas if meta["kind"] == "head"]
    fields = {f.name: f.default for f in training.tab(PLACE).fields}
    for head in heads:
        assert head["budget"] == fields["seconds"] and head["prior"] == fields["prior"]
        assert head["batch"] == race.BATCH and head["seed"] == fields["seed"]
    ends = [m for m in metas if m["kind"] == "frame" and m["step"] == training.MARKS]
    assert len(ends) == 2
