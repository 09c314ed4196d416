"""GPUs that are lent: how long a run asks for, what comes back, what happens without a loan."""

import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import gradio as gr
import numpy as np
import pytest

from mldemo.ui.server.quota import START_SECONDS, borrowed_gpu, on_borrowed, seconds_for


class Lender:
    """Does to a generator what `spaces` 0.51 does, in this process.

    Arguments are pickled, a foreign exception loses its words, a refusal is a `gradio.Error`.
    """

    def __init__(self, quota: float = 1000, frames: int | None = None) -> None:
        self.quota, self.frames, self.asked = quota, frames, []

    def GPU(self, *, duration: Callable[..., int]) -> Callable[..., Any]:
        """The decorator."""
        import pickle

        def decorate(task: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
            def lent(*arguments: Any) -> Iterator[Any]:
                self.asked.append(duration(*arguments))
                if self.asked[-1] > self.quota:
                    raise gr.Error("Space app has reached its GPU limit.", print_exception=False)
                try:
                    for i, record in enumerate(task(*pickle.loads(pickle.dumps(arguments)))):
                        if i == self.frames:
                            raise gr.Error("GPU task aborted", print_exception=False)
                        yield pickle.loads(pickle.dumps(record))
                except gr.Error:
                    raise
                except Exception as error:
                    raise gr.Error(type(error).__name__, print_exception=False) from None

            return lent

        return decorate


def source(device: str) -> Callable[[Any], Iterator[Any]]:
    """Three records of a device; it refuses too many steps."""

    def computed() -> Iterator[Any]:
        for step in range(3):
            yield {"kind": "frame", "device": device, "step": step}, {"x": np.ones(2)}

    def records(query: Any) -> Iterator[Any]:
        if int(query["steps"]) > 100:
            raise ValueError("steps must be at most 100, got " + query["steps"])
        return computed()

    return records


QUERY = {"n": "64", "count": "16", "steps": "20", "sampler": "ddim"}


def run(lender: Lender, **query: str) -> list[dict[str, Any]]:
    """What a page gets."""
    records = on_borrowed(lender.GPU, source("cuda"), source("cpu"))
    return [meta for meta, _ in records(QUERY | query)]


def test_a_run_asks_for_as_long_as_it_needs() -> None:
    """More steps, pixels, pictures or calls a step: longer; never without end, never a failure."""
    base = seconds_for(QUERY | {"n": "128", "steps": "60"})
    assert START_SECONDS < base < 120
    for more in ({"steps": "120"}, {"n": "256"}, {"count": "64"}, {"sampler": "heun"}):
        assert seconds_for(QUERY | {"n": "128", "steps": "60"} | more) > base
    assert seconds_for({"steps": "1e300"}) == 120
    assert seconds_for({"steps": "nan", "n": "x"}) == START_SECONDS


def test_records_come_from_the_gpu() -> None:
    """All of them, and the run asked for its seconds."""
    lender = Lender()
    assert [(r["device"], r["step"]) for r in run(lender)] == [("cuda", i) for i in range(3)]
    assert lender.asked == [seconds_for(QUERY)]


def test_without_quota_the_cpu_computes() -> None:
    """The whole run, from its first record."""
    assert [(r["device"], r["step"]) for r in run(Lender(quota=1))] == [
        ("cpu", i) for i in range(3)
    ]


def test_a_gpu_that_is_taken_away_ends_the_run() -> None:
    """With a sentence; half a run is not begun anew under the viewer's eyes."""
    with pytest.raises(ValueError, match="GPU task aborted"):
        run(Lender(frames=2))


@pytest.mark.parametrize("quota", [1, 1000])
def test_a_bad_request_borrows_nothing(quota: float) -> None:
    """It is refused with its words before its first record is asked for."""
    lender = Lender(quota)
    records = on_borrowed(lender.GPU, source("cuda"), source("cpu"))
    with pytest.raises(ValueError, match="steps must be at most 100, got 101"):
        records(QUERY | {"steps": "101"})
    assert lender.asked == []


def test_what_fails_there_keeps_its_words() -> None:
    """On the lent GPU alone, where the query was in order."""

    def failing(query: Any) -> Iterator[Any]:
        raise ValueError("as told")
        yield

    (((answer, _),)) = list(on_borrowed(Lender().GPU, failing, source("cpu"))(QUERY))
    assert answer == {"kind": "error", "text": "as told"}


def test_only_a_zero_gpu_space_lends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not without the package, not on a Space with hardware of its own."""
    monkeypatch.setitem(sys.modules, "spaces", None)
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    assert borrowed_gpu() is None
    package = ModuleType("spaces")
    package.GPU = Lender().GPU  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "spaces", package)
    assert borrowed_gpu() == package.GPU
    monkeypatch.delenv("SPACES_ZERO_GPU")
    assert borrowed_gpu() is None
