"""What can a linear denoiser do, what does the network add, and how much of that is right?

Held-out error E‖D(x_t) - x_0‖² on test digits x_0 with x_t = α x_0 + σ η, at a few t, of

- *filter*: D_lin = m + (αΛ/v)(x - αm), diagonal in the Fourier basis, with the radial spectrum Λ;
- *full covariance*: m + αC(α²C + σ²Q)⁻¹(x - αm), the best linear denoiser, with the covariance C
  of the training digits;
- *network*: D_g = D_lin + g (D - D_lin) with weight g = 1 and with the page's default.

The error of D_g is quadratic in g; its minimum is *the best g*, a property of the squared error
and not of how good samples look.
"""

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from mldemo.data.sets import Mnist
from mldemo.diffusion.sde import Schedule, diffuse
from mldemo.pipeline import GENERATED_DIGITS, prepare
from mldemo.request import GUIDANCE, Request
from mldemo.space.covariance import Prior
from mldemo.space.spectral import apply_multiplier, resample
from mldemo.store.checkpoints import parse
from mldemo.store.manifest import read_verified
from mldemo.studies.study import Cells, Record, Study, spread, values

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

LEVELS, TIMES = (16, 32), (0.05, 0.1, 0.2, 0.4, 0.8)
HELD_OUT = 1000


def best_linear(x: Tensor, train: Tensor, prior: Prior, alpha: float, sigma: float) -> Tensor:
    """The best linear denoiser, m + αC(α²C + σ²Q)⁻¹(x - αm), of x (B, 1, N, N).

    m and C are mean and covariance of the fields `train`. Computed on the range of Q, which must
    be the whole level: q_k > 0.
    """
    n = train.shape[-1]
    points = train.double().reshape(len(train), -1)
    mean = points.mean(0)
    covariance = (points - mean).T @ (points - mean) / len(points)
    units = torch.eye(n * n, dtype=torch.float64).reshape(-1, 1, n, n)
    noise = apply_multiplier(units, prior.eigenvalues(n)).reshape(n * n, n * n) * n**2
    spread, basis = torch.linalg.eigh(noise)
    basis = basis[:, spread > 1e-12 * spread.max()]  # H_N: the Nyquist modes are left out
    data, q = basis.T @ covariance @ basis, basis.T @ noise @ basis
    centred = (x.double().reshape(len(x), -1) - alpha * mean) @ basis
    gain = alpha * torch.linalg.solve(alpha**2 * data + sigma**2 * q, data)
    return (mean + centred @ gain @ basis.T).reshape(x.shape)


def error(denoised: Tensor, clean: Tensor) -> float:
    """E‖D - x_0‖², the mean of squares."""
    return float((denoised.double() - clean.double()).square().mean())


class Linear(Study):
    """Held-out error of the filter, of the best linear denoiser and of the network."""

    name: ClassVar[str] = "linear"
    question: ClassVar[str] = "What can a linear denoiser do, and what does the network add?"
    link: ClassVar[str] = "tab=watch&n=16&guidance=0"

    def inputs(self, quick: bool) -> Record:
        """Data, levels, times and the request that names the denoiser."""
        return {
            "data": GENERATED_DIGITS if quick else Mnist.name,
            "train": 300 if quick else None,
            "held_out": 100 if quick else HELD_OUT,
            "levels": LEVELS[:1] if quick else LEVELS,
            "times": TIMES[1:3] if quick else TIMES,
            "prior": "bessel",
            "guidance": GUIDANCE,
        }

    def cells(self, quick: bool) -> Cells:
        """A cell per level and time."""
        asked = self.inputs(quick)
        for n in asked["levels"]:
            for t in asked["times"]:
                yield f"{n}, t = {t}", lambda n=n, t=t: self._compared(asked, n, t)

    def _compared(self, asked: Record, n: int, t: float) -> Record:
        train, clean = _digits(asked["data"], n, asked["train"], asked["held_out"])
        request = Request(prior=asked["prior"], resolution=n, count=len(clean), guidance=1.0)
        run, linear = prepare(request), prepare(replace(request, guidance=0.0))
        time, schedule = torch.tensor(t, dtype=torch.float64), Schedule()
        alpha, sigma = float(schedule.alpha(time)), float(schedule.sigma(time))
        rows = []
        for seed in self.seeds:
            noise = run.prior.draw(seed, range(len(clean)), n)
            x = diffuse(schedule, clean, noise, time).float()
            filtered, learned = (_in_parts(r.denoise, x, time) for r in (linear, run))
            added, missing = (learned - filtered).double(), (clean - filtered).double()
            g = asked["guidance"]
            rows.append(
                {
                    "filter": error(filtered, clean),
                    "full covariance": error(
                        best_linear(x, train, run.prior, alpha, sigma), clean
                    ),
                    "network": error(learned, clean),
                    "network, guided": error(filtered + g * (learned - filtered), clean),
                    "best g": float((added * missing).sum() / added.square().sum()),
                }
            )
        return {key: [row[key] for row in rows] for key in rows[0]}

    def conclusion(self, record: Record) -> str:
        """How much of the error a linear denoiser removes, and what a larger weight does to it."""
        rows = self.rows(record)
        share = [r["full covariance"] / r["filter"] for r in rows]
        best = [r["best g"] for r in rows]
        ahead = sum(r["network"] < r["full covariance"] for r in rows)
        worse = sum(r["network, guided"] > r["network"] for r in rows)
        g = record["inputs"]["guidance"]
        least = f"{min(best):.2f} and {max(best):.2f}"
        return (
            f"The best linear denoiser has {min(share):.2f} to {max(share):.2f} of the filter's "
            f"error; the network has less in {ahead} of {len(rows)} cases. The weight g with the "
            f"least error lies between {least}; g = {g} raises the error in {worse} of them: "
            "guidance sharpens, it does not repair."
        )

    def rows(self, record: Record) -> list[Record]:
        """A row per level and time: means over the seeds."""
        out: list[Record] = []
        for name, cell in values(record).items():
            level, t = name.split(", t = ")
            row: Record = {"level": int(level), "t": float(t)}
            out.append(row | {key: sum(v) / len(v) for key, v in cell.items()})
        return out

    def figure(self, record: Record) -> "Figure":
        """The error against t in units of the filter's, a panel per level."""
        from mldemo.studies.figures import line, panels

        levels = record["inputs"]["levels"]
        titles = (f"squared error / the filter's, {n}²" for n in levels)
        figure = panels(*titles, x="time t", log="x")
        for panel, level in enumerate(levels, 1):
            cells = {k: v for k, v in values(record).items() if k.startswith(f"{level},")}
            times = [float(name.split(" = ")[1]) for name in cells]
            for key in ("full covariance", "network", "network, guided"):
                ratios = [
                    spread([a / b for a, b in zip(c[key], c["filter"], strict=True)])
                    for c in cells.values()
                ]
                line(figure, panel, key, times, *zip(*ratios, strict=True))
        figure.update_xaxes(tickvals=record["inputs"]["times"])
        return figure


@lru_cache(maxsize=1)
def _digits(source: str, n: int, train: int | None, held_out: int) -> tuple[Tensor, Tensor]:
    """Training and held-out digits on level N; a quick run takes the bundle's generated ones."""
    if source == Mnist.name:
        data = Mnist.find()
        return data.fields("train", n, train), data.fields("test", n, held_out)
    tensors, _ = parse(read_verified(source)[0], source)
    fields = resample(tensors["fields"].float(), n)
    return fields[:train], fields[-held_out:]


def _in_parts(denoise: Any, x: Tensor, time: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([denoise(part, time) for part in x.split(250)])
