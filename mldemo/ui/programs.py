"""Programs and commands, to be copied from the page, that compute the same pictures.

A tab gives the body of its program; the imports follow from the names that the body uses.
"""

import ast
import builtins
import shlex
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from mldemo.editing import Edit
from mldemo.pipeline import Run
from mldemo.request import Request
from mldemo.space.covariance import Prior
from mldemo.store.manifest import BUNDLE

INSTALL = "# In a clone of mldemo, once: pip install .  (with torch, pillow and matplotlib)"
OTHERS = {
    "Image": "from PIL import Image",
    "Path": "from pathlib import Path",
    "np": "import numpy as np",
    "plt": "import matplotlib.pyplot as plt",
    "torch": "import torch",
}
HOMES = (
    *("mldemo", "mldemo.pipeline", "mldemo.images", "mldemo.editing", "mldemo.data.pictures"),
    *("mldemo.studies.gaussian_law", "mldemo.ui.tabs.learn.two_points"),
)


def program(body: str, homes: Sequence[str] = ()) -> str:
    """A complete program: a comment on installation, the imports, `body`.

    homes: modules, besides `HOMES`, that define names used in `body`.
    """
    names = [node for node in ast.walk(ast.parse(body)) if isinstance(node, ast.Name)]
    made = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    used = {node.id for node in names} - made - set(dir(builtins))
    ours: dict[str, list[str]] = {}
    for name in sorted(used - OTHERS.keys()):
        ours.setdefault(_home(name, homes), []).append(name)
    imports = [OTHERS[name] for name in sorted(used & OTHERS.keys(), key=str.lower)]
    imports += [f"from {home} import {', '.join(found)}" for home, found in sorted(ours.items())]
    return "\n".join([INSTALL, *imports, "", body.strip(), ""])


def _home(name: str, more: Sequence[str]) -> str:
    """The first module that defines `name`."""
    return next(home for home in (*HOMES, *more) if hasattr(import_module(home), name))


def pinned(run: Run) -> Request:
    """The run's request with its checkpoint named, so that a later default has no effect."""
    return replace(run.request, checkpoint=run.checkpoint)


def folder_argument(folder: Path) -> str:
    """`, folder=Path(…)`, to be appended to a call; empty for the bundle, which is the default."""
    return "" if folder == BUNDLE else f", folder=Path({str(folder.absolute())!r})"


def folder_option(folder: Path) -> str:
    """` --checkpoints …`, to be appended to a command; empty for the bundle."""
    return "" if folder == BUNDLE else f" --checkpoints {shlex.quote(str(folder.absolute()))}"


def preparing(run: Run, folder: Path, request: str = "request") -> str:
    """An expression that prepares `request`, itself an expression, on the run's device."""
    device = "" if run.device.type == "cpu" else f", device={run.device.type!r}"
    return f"prepare({request}{device}{folder_argument(folder)})"


def run_program(run: Run, folder: Path) -> str:
    """A program for `shown`, uint8 (steps + 1, count, N, N): x̂₀ at every step, as on the page."""
    return program(f"""\
request = {pinned(run)!r}
frames = list({preparing(run, folder)}.frames())
shown = torch.stack([pixels(frame.x0[:, 0]) for frame in frames])  # x̂₀ at every step
sheet(shown[-1]).save("digits.png")
""")


def run_command(run: Run, folder: Path, out: str = "digits.png") -> str:
    """The command line that computes the same pictures."""
    command = f"python -m mldemo sample {pinned(run).command_line} --out {out}".replace("  ", " ")
    return command + folder_option(folder)


def grid_program(runs: Sequence[Run], folder: Path) -> str:
    """A program for `shown[prior, N]`, uint8 (steps + 1, 1, N, N), and a picture, row by prior."""
    requests = "".join(f"    {pinned(run)!r},\n" for run in runs)
    return program(f"""\
requests = [
{requests}]
shown = {{}}
for request in requests:
    frames = {preparing(runs[0], folder)}.frames()
    key = request.prior, request.resolution
    shown[key] = torch.stack([pixels(frame.x0[:, 0]) for frame in frames])
last = [np.asarray(sheet(steps[-1], side=256)) for steps in shown.values()]
half = len(last) // 2
Image.fromarray(np.vstack([np.hstack(last[:half]), np.hstack(last[half:])])).save("grids.png")
""")


def curve_program(points: str, x: str, curves: Sequence[str]) -> str:
    """A program that plots `curves` against `x`, keys of the dictionaries in `points`, log-log."""
    drawn = "\n".join(
        f'plt.loglog(x, [point["{name}"] for point in points], "o-", label="{name}")'
        for name in curves
    )
    return program(f"""\
points = {points}
x = [point["{x}"] for point in points]
{drawn}
plt.xlabel("{x}")
plt.legend()
plt.savefig("curves.png")
""")


def draws_program(priors: Sequence[Prior], seed: int, resolution: int) -> str:
    """A program for `shown[name]`, uint8 (4, N, N): draws of every prior from one seed."""
    listed = "".join(f"    {prior!r},\n" for prior in priors)
    body = f"""\
priors = [
{listed}]
shown = {{}}
for prior in priors:
    shown[prior.name] = pixels(prior.draw({seed}, range(4), {resolution})[:, 0])
    print(prior.name, prior.trace_class, prior.level_trace({resolution}))
sheet(torch.cat(list(shown.values())), columns=4).save("priors.png")
"""
    return program(body, [type(prior).__module__ for prior in priors])


def draws_command(requests: Sequence[Request], folder: Path) -> str:
    """Command lines that draw the noise of each request, one per line."""
    lines = []
    for r in requests:
        options = {"prior": r.prior, "resolution": r.resolution, **r.shape}
        options |= {"count": r.count, "seed": r.seed, "out": f"{r.prior}.png"}
        words = (f"--{name} {value}" for name, value in options.items())
        lines.append(" ".join(["python -m mldemo noise", *words]) + folder_option(folder))
    return "\n".join(lines)


def edit_program(run: Run, folder: Path, clean: str, change: Edit, region: str) -> str:
    """A program for `shown`, as in `run_program`, of an edit.

    clean: an expression for the field to edit.
    region: the text of the region in the link (`mask_from_text`), or "".
    """
    n = run.request.resolution
    mask = f", region=mask_from_text({region!r}, {n})" if region else ""
    return program(f"""\
clean = {clean}
request = {pinned(run)!r}
change = Edit(
    {change.kind!r}, time={change.time}, cutoff={change.cutoff}, method={change.method!r}{mask}
)
states = list(edit({preparing(run, folder)}, clean, change))
shown = torch.stack([pixels(state.x0[:, 0].cpu()) for state in states])  # x̂₀ at every step
sheet(shown[-1]).save("edited.png")
""")


def picture_expression(text: str, resolution: int) -> str:
    """An expression for the field of a picture in a link."""
    return f"field_from_greys(picture_from_text({text!r}), {resolution})"


def digit_expression(digit: int, resolution: int, folder: Path) -> str:
    """An expression for the field of a generated digit of the folder."""
    points = f'Request(score="empirical", resolution={resolution})'
    run = f"prepare({points}{folder_argument(folder)})"
    return f"{run}.denoise.fields[{digit}][None].float()"
