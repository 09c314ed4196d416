"""`publish` and `fetch`: checkpoints to and from the Hugging Face Hub."""

from pathlib import Path

import click

from mldemo.cli.options import Real, bundle_option, say
from mldemo.machine import choose_device
from mldemo.store import hub
from mldemo.store.family import suited
from mldemo.store.manifest import CheckpointError, find, manifest_entry, read_manifest


@click.command()
@click.option("--repo", metavar="OWNER/NAME", required=True, help="Made if it does not exist.")
@click.option("--private", is_flag=True, help="A new repository is shown to you alone.")
@click.option("--dry-run", is_flag=True, help="Show files and model card; send nothing.")
@bundle_option
def publish(repo: str, private: bool, dry_run: bool, folder: Path) -> None:
    """Upload every file with a model card, and pin the manifest to the commit.

    Uses your own token: `hf auth login`, or HF_TOKEN.
    """
    from mldemo.store import publish as publishing

    if dry_run:
        files = publishing.contents(folder, repo)
        for path, raw in files.items():
            click.echo(f"{len(raw):>10}  {path}")
        click.echo("\n" + files["README.md"].decode())
        return
    commit = publishing.publish(folder, repo, private)
    names = ",".join(e["file"] for e in read_manifest(folder)["files"].values())
    say({"repo": repo, "revision": commit, "preload_from_hub": f"{repo} {names} {commit}"})


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "everything", is_flag=True, help="Every file of the manifest.")
@click.option("--seconds", type=Real(1, 3600), default=120, help="Patience for each file.")
@bundle_option
def fetch(names: tuple[str, ...], everything: bool, seconds: float, folder: Path) -> None:
    """Download files now (by default what is used by default), so that later none is waited for.

    MLDEMO_HUB_REPO=OWNER/NAME[@REVISION] names another repository than the manifest does;
    MLDEMO_HUB_TOKEN=1 shows your own token to a private or gated one. Prints where each file is.
    """
    manifest = read_manifest(folder)
    default = manifest["default"]
    usual = dict.fromkeys([default, suited(default, choose_device(), folder)])
    wanted = list(manifest["files"]) if everything else names or usual
    failed = False
    for name in wanted:
        if hub.pinned(manifest, manifest_entry(name, folder)) is None:
            raise ValueError("no repository is configured: set MLDEMO_HUB_REPO=OWNER/NAME")
        try:
            found = find(name, folder, seconds)
        except CheckpointError as error:
            failed = True
            click.echo(f"FAILED  {name}: {error}")
            continue
        why = f" ({found.failures[-1]})" if found.source == "bundle" else ""
        click.echo(f"{found.source:<7} {name}{why}")
    if failed:
        raise SystemExit(1)
