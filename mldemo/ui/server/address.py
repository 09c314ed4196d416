"""Checks of the address that the page listens on, made before anything else is loaded."""

import re
import socket
from urllib.parse import urlsplit

ROOT = re.compile(r"(https?://[A-Za-z0-9.:_\[\]-]+)?(/[A-Za-z0-9._~%-]+)*/?")


def check_port(text: str) -> int:
    """A port from 1 to 65535; anything else raises `ValueError`."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise ValueError(f"port must be a whole number from 1 to 65535, got {text[:80]!r}")
    return int(text)


def check_root_path(text: str | None) -> str | None:
    """A path or an http(s) URL, without its final slash; anything else raises `ValueError`."""
    if text is None:
        return None
    if not ROOT.fullmatch(text) or len(text) > 200 or not _has_host(text):
        raise ValueError(
            "root path must be a path such as /demo, or an address such as https://host/demo, "
            f"got {text[:80]!r}"
        )
    return text.rstrip("/") or None


def _has_host(address: str) -> bool:
    """Whether the host of an address, if it has one, can be told from its port."""
    try:
        parts = urlsplit(address)
        return not parts.scheme or (parts.hostname is not None and parts.port != 0)
    except ValueError:
        return False


def check_address(host: str, port: int) -> None:
    """Raise `ValueError` with the system's reason if no socket can be bound to the address."""
    name = host.strip("[]")
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in found[:1]:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ValueError(f"cannot listen on {host[:80]}:{port}: {reason}") from None
