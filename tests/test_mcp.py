"""The endpoints as tools for language models: a real MCP client at the real app."""

import ast
import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from ui import app

from mldemo.ui.server.api import ASKED

__all__ = ["app"]


def with_session(app: str, use: Callable[[ClientSession], Awaitable[Any]]) -> Any:
    """What `use` finds in a session with the app."""

    async def work() -> Any:
        async with (
            streamable_http_client(f"{app}/gradio_api/mcp/") as (read, write, *_),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            return await use(session)

    return asyncio.run(work())


def call(app: str, tool: str, **arguments: Any) -> tuple[bool, str]:
    """Whether a call failed, and its words."""
    answer = with_session(app, lambda session: session.call_tool(tool, arguments))
    return answer.isError, answer.content[0].text


def test_tools_say_what_they_want(app: str) -> None:
    """Each has a sentence, each of its arguments a type, a default and a description."""
    listed = with_session(app, lambda session: session.list_tools())
    tools = {tool.name: tool for tool in listed.tools}
    assert {"sample", "noise", "prior_spectrum"} <= set(tools)
    for tool in tools.values():
        assert len(tool.description) > 20
        for name, argument in tool.inputSchema["properties"].items():
            assert len(argument["description"]) > 10, name
            # gradio leaves out a None
            assert (
                name in ("checkpoint", "exponent", "kappa", "coarse_until")
                or "default" in argument
            )
    wanted = set(tools["sample"].inputSchema["properties"])
    assert wanted == {p.name for p in ASKED}


def test_a_tool_draws(app: str) -> None:
    """A picture that can be fetched, and the numbers of the run."""
    asked = {"resolution": 16, "steps": 3, "count": 4, "score": "gaussian", "seed": 5}
    failed, words = call(app, "sample", **asked)
    answer = ast.literal_eval(words)
    assert not failed
    assert answer["network_calls"] == 3
    picture = httpx.get(answer["picture"]["url"])
    assert picture.status_code == 200
    assert picture.content.startswith(b"\x89PNG")
    failed, words = call(app, "prior_spectrum", prior="standard", resolution=16)
    assert not failed
    assert ast.literal_eval(words)["shell_mean"][3] == pytest.approx(1 / 16**2)


def test_a_bad_call_is_a_sentence(app: str) -> None:
    """The same as everywhere."""
    failed, words = call(app, "noise", prior="nothing")
    assert failed
    assert words.startswith("prior must be one of")
    assert "Traceback" not in words
