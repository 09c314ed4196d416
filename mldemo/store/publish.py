"""Publish a folder of checkpoints to the Hugging Face Hub: files and model card in one commit.

The commit's full hash is written into the manifest, so that everybody who has the manifest gets
these bytes and no others.
"""

import hashlib
import json
import math
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from mldemo.data.sets import DataSet
from mldemo.store import hub
from mldemo.store.manifest import find, manifest_update, prior_names, read_manifest

TASK = "unconditional-image-generation"
CARD = """
# {repo}: diffusion models in function space

Checkpoints of **mldemo**: score-based diffusion whose noise is a Gaussian random *function* with a
trace-class covariance operator and whose score is a neural operator, after
[Multilevel Diffusion](https://arxiv.org/abs/2303.04772). One set of weights draws the same images
on every grid.
{picture}
## How to use

With mldemo and its requirements installed:

```sh
export MLDEMO_HUB_REPO={repo}
python -m mldemo fetch --all
python -m mldemo sample --checkpoint {default} --resolution 64 --seed 7 --out samples.png
```

```python
from mldemo import Request, prepare

x = prepare(Request(prior="{prior}", checkpoint="{default}", resolution=64)).result().x0
```

## Files

| file | kind | trained on | prior | steps at each level | size | sha256 |
|---|---|---|---|---|---|---|
{rows}

Each file is safetensors; the metadata key `mldemo` holds its record as JSON (network, prior,
levels, seed, versions). `manifest.json` holds the full sha256 of each: mldemo opens nothing that
differs.
{metrics}
## Licence and data

The weights are under the MIT licence. They were trained on:

{data}
"""


def numbers(metrics: Any, *path: str) -> Iterator[tuple[tuple[str, ...], float]]:
    """The finite numbers in nested mappings, each with the keys that lead to it."""
    if isinstance(metrics, dict):
        for key, value in metrics.items():
            yield from numbers(value, *path, str(key))
    elif isinstance(metrics, (int, float)) and math.isfinite(metrics):
        yield path, float(metrics)


def model_card(manifest: dict[str, Any], repo: str, picture: str | None = None) -> str:
    """README.md of the repository: metadata with every checkpoint's metrics, and how to use it."""
    hub.client()
    from huggingface_hub import EvalResult, ModelCardData
    from huggingface_hub.repocard_data import eval_results_to_model_index
    from huggingface_hub.utils import yaml_dump

    files = manifest["files"]
    default = manifest["default"]
    data = sorted({e["data"] for e in files.values() if isinstance(e.get("data"), str)})
    known = {name: DataSet.known[name] for name in data if name in DataSet.known}
    hubs: dict[str, str] = {n: kind.hub for n, kind in known.items() if kind.hub}
    index, measured = [], []
    for name, entry in files.items():
        found = list(numbers(entry.get("metrics")))
        results = [
            EvalResult(
                task_type=TASK,
                dataset_type=hubs.get(str(entry["data"]), str(entry["data"])),
                dataset_name=entry["data"],
                metric_type=path[-1],
                metric_name=" ".join(path),
                metric_value=value,
            )
            for path, value in found
        ]
        index += eval_results_to_model_index(name, results) if results else []
        measured += [f"| {name} | {' '.join(path)} | {value:.4g} |" for path, value in found]
    metadata = ModelCardData(
        license="mit",
        library_name="mldemo",
        pipeline_tag=TASK,
        tags=["diffusion", "neural-operator", "function-space", "safetensors"],
        datasets=[*hubs.values()] or None,
    ).to_dict()
    metadata |= {"model-index": index} if index else {}
    table = "\n## Metrics\n\n| checkpoint | metric | value |\n|---|---|---|\n"
    text = CARD.format(
        repo=repo,
        default=default,
        prior=prior_names(files[default])[0],
        picture=f"\n![One seed on four grids]({picture})\n" if picture else "",
        rows="\n".join(_row(entry) for entry in files.values()),
        metrics=table + "\n".join(measured) + "\n" if measured else "",
        data="\n".join(f"- {known[n].described() if n in known else n}" for n in data),
    )
    return f"---\n{yaml_dump(metadata)}---\n{text}"


def _row(entry: dict[str, Any]) -> str:
    levels = ", ".join(f"{resolution}²: {steps}" for resolution, steps in entry.get("levels", []))
    cells = [f"`{entry['file']}`", entry.get("kind", ""), entry.get("data", "")]
    cells += [", ".join(prior_names(entry)), levels, f"{entry['size'] / 1e6:.1f} MB"]
    return f"| {' | '.join(cells)} | `{entry['sha256'][:12]}…` |"


def contents(folder: Path, repo: str) -> dict[str, bytes]:
    """The files to upload, by path: every verified file, manifest, sample sheets, model card."""
    hub.check_repo(repo, "--repo")
    manifest = read_manifest(folder)
    if manifest["files"].get(manifest["default"], {}).get("kind") != "checkpoint":
        raise ValueError(f"{folder} holds no checkpoint to publish")
    found = [find(name, folder) for name in manifest["files"]]
    files = {Path(f.entry["file"]).name: f.raw for f in found}
    sheets = sorted(folder.glob("sheets/*.png"))
    files |= {f"sheets/{path.name}": path.read_bytes() for path in sheets}
    files["manifest.json"] = _text(_unpinned(manifest))
    default = manifest["default"]
    picture = f"sheets/{default}-{prior_names(manifest['files'][default])[0]}.png"
    files["README.md"] = model_card(manifest, repo, picture if picture in files else None).encode()
    return files


def publish(folder: Path, repo: str, private: bool = False) -> str:
    """Upload `contents` with the user's own token and pin the manifest to the commit.

    Returns the full commit hash. The manifest is changed only once the Hub has confirmed the size
    of what it holds, and the sha256 of large files, and only if it is still the one that was sent.
    A failure raises `HubError`, a damaged folder as `contents` does.
    """
    files = contents(folder, repo)
    hub.client()
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi(library_name="mldemo")
    user: Future[Any] = hub.in_background(api.whoami)
    try:
        user.result(hub.SECONDS)  # a silent Hub would keep the client busy for minutes
        api.create_repo(repo, private=private, exist_ok=True)
        commit = api.create_commit(
            repo,
            [CommitOperationAdd(path, raw) for path, raw in files.items()],
            commit_message="Checkpoints, manifest and model card",
        ).oid
        held = {info.path: info for info in api.get_paths_info(repo, [*files], revision=commit)}
    except TimeoutError:
        raise hub.HubError(f"the Hub did not answer within {hub.SECONDS:g} s") from None
    except Exception as error:
        raise hub.HubError(f"{repo} was not published: {hub.explain(error)}") from None
    for path, raw in files.items():
        info = held.get(path)
        lfs = getattr(info, "lfs", None)
        same = info is not None and getattr(info, "size", None) == len(raw)
        if not same or (lfs and lfs.sha256 != hashlib.sha256(raw).hexdigest()):
            raise hub.HubError(f"{repo} holds another {path} than was sent; nothing is pinned")
    pin = {"repo": repo, "revision": commit}
    with manifest_update(folder) as manifest:
        bare = _unpinned(manifest)
        if _text(bare) != files["manifest.json"]:
            raise hub.HubError(f"{folder} was changed meanwhile; nothing is pinned, publish again")
        manifest.clear()
        manifest.update(bare | pin)
    return commit


def _text(manifest: dict[str, Any]) -> bytes:
    return (json.dumps(manifest, indent=1) + "\n").encode()


def _unpinned(manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest without its own pin and those of its files."""

    def bare(record: dict[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in record.items() if k not in ("repo", "revision")}

    files = {name: bare(entry) for name, entry in manifest["files"].items()}
    return bare(manifest) | {"files": files}
