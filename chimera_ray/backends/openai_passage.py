"""Whether a model's calls get through, where an answer refuses one and does not say why.

A firewall, a corporate proxy or a provider's own filter may refuse everything, or one prompt for
what it says; both answer the same 403. What becomes of the other calls tells which it is.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

MAX_REFUSED = 20
"""calls refused so, with no reply between them, until nothing is taken to get through any more"""
MAX_WAIT_S = 3_600.0
"""for the first reply, which a model that thinks may take so long to give"""


class Passage:
    """What came of one model's calls; made and used inside one event loop."""

    def __init__(self) -> None:
        """Nothing has been asked."""
        self._has_replied = False
        self._num_refused = self._num_waiting = self._num_under_way = 0
        self._news = asyncio.Event()

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """A call is made inside the block."""
        self._num_under_way += 1
        try:
            yield
        finally:
            self._num_under_way -= 1
            self._news.set()

    def replied(self) -> None:
        """A call has its reply."""
        self._has_replied, self._num_refused = True, 0
        self._news.set()

    async def is_closed(self) -> bool:
        """A call that is under way was refused → whether all are.

        Before the first reply the other calls are waited for: such a refusal comes at once, and a
        run that stopped at it would stop at the same prompt whenever it is started again.
        """
        self._num_refused += 1
        self._num_waiting += 1
        self._news.set()
        try:
            async with asyncio.timeout(MAX_WAIT_S):
                while not self._has_replied and self._num_waiting < self._num_under_way:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return True
        finally:
            self._num_waiting -= 1
        return not self._has_replied or self._num_refused >= MAX_REFUSED
