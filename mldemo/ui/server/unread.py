"""Results of calls that nobody reads.

Gradio keeps what a call of its API has yielded until it is read, for 2,000 sessions. A call of
`/frames` yields some 70 MiB, so whoever calls and never reads would fill the memory.
"""

import asyncio
from typing import Any

KEPT_SECONDS = 120.0  # for which results wait to be read,
PRESSED_SECONDS = 10.0  # and if there are more than
MOST_UNREAD = 400  # messages in all


async def drop_unread(queue: Any, every: float = 1.0) -> None:
    """End the calls whose results are not read, and drop the results, while gradio's queue runs.

    A session is read as long as the first of its waiting messages changes.
    """
    loop, heads = asyncio.get_running_loop(), dict[str, tuple[Any, float]]()
    while not queue.stopped:
        await asyncio.sleep(every)
        waiting = {s: m for s, m in queue.pending_messages_per_session.items() if m.qsize()}
        total = sum(messages.qsize() for messages in waiting.values())
        patience = KEPT_SECONDS if total <= MOST_UNREAD else PRESSED_SECONDS
        before, heads, now = heads, {}, loop.time()
        for session, messages in waiting.items():  # without `await`: meanwhile others would read
            head = messages._queue[0]
            known, since = before.get(session, (None, now))
            heads[session] = head, since if known is head else now
        for session in [s for s, (_, since) in heads.items() if now - since > patience]:
            queue.pending_messages_per_session.pop(session, None)
            await queue.clean_events(session_hash=session)
