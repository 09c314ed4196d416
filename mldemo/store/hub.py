"""Files from the Hugging Face Hub within a deadline, or the reason why there are none.

The client checks sizes and nothing else, retries for minutes, and returns whatever its cache
holds. Every download therefore runs in a thread that is abandoned after a deadline, the
caller verifies what it returns, and after a failure the Hub is not asked for some minutes.
`README.md` beside this file says how to configure it.
"""

import os
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock, Thread
from typing import Any, TypeVar

SECONDS = 8.0  # for the Hub; the rest of ten seconds is for reading and hashing local files
PAUSE = 300.0
ANSWER_SECONDS = 3.0
CLIENT_SETTINGS = {  # the client reads them when it is imported
    "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_ETAG_TIMEOUT": f"{ANSWER_SECONDS:.0f}",
    "HF_HUB_DOWNLOAD_TIMEOUT": "5",
    "HF_HUB_VERBOSITY": "error",
}
REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}")
REVISION = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*", re.ASCII)
REFUSALS = {
    401: "unknown, or not open to everybody; MLDEMO_HUB_TOKEN=1 shows it your own token",
    403: "access is refused; MLDEMO_HUB_TOKEN=1 shows it your own token",
    404: "no such repository or revision",
    429: "too many requests",
}

T = TypeVar("T")
_one_at_a_time = Lock()
_paused: dict[str, tuple[float, str]] = {}  # repo: until when, and why


class HubError(ValueError):
    """A request to the Hub failed; the message says why in one sentence."""


@dataclass(frozen=True)
class Pin:
    """A repository at one revision: a full commit, or the one given by `MLDEMO_HUB_REPO`."""

    repo: str
    revision: str

    def __str__(self) -> str:
        """For messages."""
        return f"{self.repo}@{self.revision[:12]}"


def configure_client() -> None:
    """Turn off the telemetry of the client and shorten its time limits, before it is imported."""
    for name, value in CLIENT_SETTINGS.items():
        os.environ.setdefault(name, value)


def client() -> Any:
    """The package `huggingface_hub`, configured."""
    configure_client()
    import huggingface_hub

    return huggingface_hub


def own_token() -> bool:
    """Whether the user's own token may be sent: only if MLDEMO_HUB_TOKEN says so."""
    return os.environ.get("MLDEMO_HUB_TOKEN", "").lower() in ("1", "true", "yes")


def check_repo(repo: str, origin: str) -> str:
    """Return a repository id; anything else raises `HubError`, whose message names `origin`."""
    if not isinstance(repo, str) or not REPO_ID.fullmatch(repo) or len(repo) > 96:
        raise HubError(f"{origin} must look like OWNER/NAME, got {str(repo)[:100]!r}")
    return repo


def pinned(manifest: Mapping[str, Any], entry: Mapping[str, Any]) -> Pin | None:
    """The repository and revision of a file, given by its entry or else its manifest, or None.

    A repository of None says that the file is on no Hub. Otherwise the environment variable
    MLDEMO_HUB_REPO=OWNER/NAME[@REVISION] takes precedence; empty, it turns the Hub off. Without a
    revision it means the manifest's, if that is the same repository, else "main", which is also
    safe because the sha256 is checked.
    """
    named = entry if "repo" in entry else manifest
    repo, revision = named.get("repo"), str(named.get("revision"))
    given = os.environ.get("MLDEMO_HUB_REPO")
    if "repo" in named and repo is None:
        return None
    if given:
        wanted, _, at = given.partition("@")
        revision = at or (revision if wanted == repo else "main")
        if not REVISION.fullmatch(revision):
            raise HubError(f"MLDEMO_HUB_REPO names no revision: {revision[:100]!r}")
        return Pin(check_repo(wanted, "MLDEMO_HUB_REPO"), revision)
    if given == "" or repo is None:
        return None
    if not COMMIT.fullmatch(revision):
        raise HubError(f"the manifest must pin {repo} to a full commit, got {revision!r}")
    return Pin(check_repo(repo, "the manifest's repo"), revision)


def cached(pin: Pin, file: str) -> Path:
    """The path of a file in the client's cache at that revision; its bytes are unverified."""
    client()
    from huggingface_hub import try_to_load_from_cache

    try:
        path = try_to_load_from_cache(pin.repo, file, revision=pin.revision)
    except OSError as error:
        raise HubError(f"the cache cannot be read: {error.strerror}") from None
    if not isinstance(path, str):
        raise HubError(f"holds no {file} of {pin}")
    return Path(path)


def download(
    pin: Pin,
    file: str,
    size: int,
    accept: Callable[[Path], bytes],
    seconds: float = SECONDS,
    patient: bool = True,
) -> bytes:
    """Download a file into the client's cache, replacing what is there, and `accept` it.

    `accept` verifies a path and returns its bytes, or raises. Returns within `seconds` or raises
    `HubError`; a late download continues in the background, for the next call. Downloads are made
    one at a time; other calls wait, or give up at once if `patient` is False.
    """
    deadline = time.monotonic() + seconds
    _check_pause(pin)
    lock = _one_at_a_time
    if not lock.acquire(timeout=max(0.0, seconds if patient else 0.0)):
        raise HubError("another download is still under way")

    def work() -> bytes:
        try:
            _check_pause(pin)
            return _download(pin, file, size, accept)
        finally:
            lock.release()

    begun = time.monotonic()
    try:
        download = in_background(work)
    except BaseException:  # no thread could be started
        lock.release()
        raise
    try:
        return download.result(max(0.0, deadline - begun))
    except HubError:
        raise
    except Exception as error:
        late = isinstance(error, TimeoutError)
        if late and deadline - begun < seconds / 2:  # most of the time it waited for another one
            raise HubError(f"{pin}: another download took too long; try again") from None
        reason = f"{pin}: " + (f"no file within {seconds:.2g} s" if late else explain(error))
        _paused[pin.repo] = (time.monotonic() + PAUSE, reason)
        raise HubError(reason) from None


def _check_pause(pin: Pin) -> None:
    until, reason = _paused.get(pin.repo, (0.0, ""))
    if (left := until - time.monotonic()) > 0:
        raise HubError(f"left alone for another {left:.0f} s, for it failed ({reason})")


def _download(pin: Pin, file: str, size: int, accept: Callable[[Path], bytes]) -> bytes:
    """Ask once with a short limit, then let the client download: by itself it retries for minutes.

    The client returns what its cache holds, even if damaged; the download is then forced.
    """
    client()
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import RemoteEntryNotFoundError

    if constants.is_offline_mode():
        raise HubError("HF_HUB_OFFLINE is set")
    url = hf_hub_url(pin.repo, file, revision=pin.revision)
    try:
        found = get_hf_file_metadata(url, token=own_token(), timeout=ANSWER_SECONDS)
    except RemoteEntryNotFoundError:
        raise HubError(f"{pin} holds no {file}") from None
    if found.commit_hash is None:
        raise OSError(f"what answers at {constants.ENDPOINT} is no Hub")
    if found.size not in (None, size):
        raise HubError(f"{pin} has a {file} of {found.size} bytes, the manifest says {size}")
    get = partial(hf_hub_download, pin.repo, file, revision=pin.revision, token=own_token())
    path = Path(get())
    try:
        return accept(path)
    except ValueError:
        return accept(Path(get(force_download=True)))


def in_background(job: Callable[[], T]) -> Future[T]:
    """Run a job in a daemon thread, which may be abandoned and does not keep the process alive."""
    outcome: Future[T] = Future()

    def work() -> None:
        try:
            outcome.set_result(job())
        except Exception as error:
            outcome.set_exception(error)

    Thread(target=work, name="hub", daemon=True).start()
    return outcome


def explain(error: BaseException) -> str:
    """Why something failed, in a few words: the status of the answer, else what broke first."""
    chain = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    answers = [getattr(link, "response", None) for link in chain]
    status = next((answer.status_code for answer in answers if answer is not None), None)
    if status is not None:
        return f"{REFUSALS.get(status, 'the Hub failed')} (HTTP {status})"
    lines = str(chain[-1]).strip().splitlines() or [type(chain[-1]).__name__]
    return lines[0][:200]
