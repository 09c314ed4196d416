"""Load test with a class of visitors: the real app on this machine, and visitors who come at once.

Visitors are connections that read a default run of the tab Watch to its end, all started together;
with several tries, one such group comes after the other.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from mldemo.request import Request
from mldemo.store.manifest import BUNDLE
from mldemo.studies.bench_app import served

MOST_VISITORS, MOST_GREEDY, MOST_TRIES = 1000, 100, 100
SETTLE_SECONDS, PATIENCE_SECONDS = 3.0, 300.0
GREEDY = "n=128&count=16&sampler=heun&steps=100"


def together(
    folder: Path = BUNDLE,
    visitors: int = 60,
    equal: bool = False,
    greedy: int = 0,
    tries: int = 1,
) -> Iterator[dict[str, Any]]:
    """Serve the app on loopback and let `visitors` ask for a run at the same moment.

    equal: all visitors of a try ask for the same run, else each for a seed of its own.
    greedy: the number of connections that ask for the longest runs throughout, from 2 s before.
    tries: the number of groups, in turn; the figures are over all visitors.

    Rows: seconds to the first frame and to the end (median, p90, max); visitors served with every
    frame, refused and lost; CPU seconds that the app used; resident memory of the app in MB
    before, after, and how much of the increase is left after 3 s without any work.

    Errors: numbers out of range, or no app to start, raise a `ValueError`.
    """
    for name, value, low, high in (
        ("visitors", visitors, 1, MOST_VISITORS),
        ("greedy", greedy, 0, MOST_GREEDY),
        ("tries", tries, 1, MOST_TRIES),
    ):
        if not low <= value <= high:
            raise ValueError(f"{name} must be from {low} to {high}, got {value}")
    with served(folder) as app:
        groups = [
            [1000 * (1 + try_) + (0 if equal else i) for i in range(visitors)]
            for try_ in range(tries)
        ]
        asyncio.run(visit_together(app.url, [[1]], 0))  # load the network, warm the caches
        before, used = app.megabytes(), app.core_seconds()
        visits = asyncio.run(visit_together(app.url, groups, greedy))
        after, used = app.megabytes(), app.core_seconds() - used
        time.sleep(SETTLE_SECONDS)
        settled = app.megabytes()
    what = {"bench": "class", "visitors": visitors, "equal": equal}
    what |= {"greedy": greedy, "tries": tries}
    whole = [v for v in visits if v["frames"] == Request.steps + 1]
    for name in ("first", "end"):
        seconds = np.array([v[name] for v in whole] or [np.nan])
        found = [np.median(seconds), np.quantile(seconds, 0.9), seconds.max()]
        row = {k: round(float(v), 3) for k, v in zip(("median", "p90", "max"), found, strict=True)}
        yield {**what, "what": f"seconds_to_{name}", **row}
    refused = sum(v["refused"] for v in visits)
    counts = {"served": len(whole), "refused": refused, "lost": len(visits) - len(whole) - refused}
    yield {**what, "what": "visits", **counts}
    yield {**what, "what": "core_seconds", "all": round(used, 2)}
    memory = {"before": before, "after": after, "left": settled - before}
    yield {**what, "what": "megabytes", **{k: round(v, 1) for k, v in memory.items()}}


async def visit_together(url: str, groups: list[list[int]], greedy: int) -> list[dict[str, Any]]:
    """What each visitor saw, group after group."""
    import httpx

    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_SECONDS, limits=limits) as client:
        loops = [asyncio.create_task(_greedy(client, seed)) for seed in range(greedy)]
        await asyncio.sleep(2.0 if greedy else 0.0)
        visits = []
        for seeds in groups:
            visits += await asyncio.gather(*(_visit(client, seed) for seed in seeds))
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
    return visits


async def _visit(client: Any, seed: int) -> dict[str, Any]:
    start, kinds = time.perf_counter(), []
    seen = {"first": np.nan, "end": np.nan, "frames": 0, "refused": False}
    async with client.stream("GET", f"/mldemo/live/watch?seed={seed}") as answer:
        seen["refused"] = answer.status_code == 503
        if answer.status_code == 200:
            async for meta in _metas(answer.aiter_bytes()):
                kinds.append(meta["kind"])
                now = time.perf_counter() - start
                if meta["kind"] == "frame" and seen["frames"] == 0:
                    seen["first"] = now
                seen["frames"] += meta["kind"] == "frame"
                seen["end"] = now
    return seen


async def _greedy(client: Any, seed: int) -> None:
    """One long run after the other, read as fast as it comes."""
    while True:
        with suppress(Exception):
            async with client.stream("GET", f"/mldemo/live/watch?{GREEDY}&seed={seed}") as answer:
                async for _ in answer.aiter_bytes():
                    pass
        await asyncio.sleep(0.1)


async def _metas(parts: AsyncIterator[bytes]) -> AsyncIterator[dict[str, Any]]:
    """The JSON of every record in a stream of bytes."""
    import json
    import struct

    held = bytearray()
    async for part in parts:
        held += part
        while len(held) >= 8:
            size, length = struct.unpack_from("<II", held)
            if len(held) < 4 + size:
                break
            yield json.loads(held[8 : 8 + length])
            del held[: 4 + size]
