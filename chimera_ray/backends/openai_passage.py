"""Whether a model's calls get through, where an answer refuses one and does not say why.

A firewall, a corporate proxy or a provider's own filter may refuse everything, or one prompt for
what it says; both answer the same 403. Such a refusal is its row's own, until too many come in a
row. No call waits to learn it: a row that waited would keep its slot from those it waits for.
"""

from chimera_ray.backends.openai_errors import DoubtfulError
from chimera_ray.errors import ChimeraError, RowError, TransientProviderError

MAX_REFUSED = 20
"""calls refused so, with no answer between them, that still may be so many prompts' own fault"""
PER_CALL = 2
"""the same for each call under way: a model may think long while others are refused at once"""


class Passage:
    """What came of one model's calls; made and used inside one event loop."""

    def __init__(self) -> None:
        """Nothing has been asked."""
        self._num_under_way = self._num_refused = 0

    def begin(self) -> None:
        """A call is made; to be followed by `end`."""
        self._num_under_way += 1

    def end(self) -> None:
        """A call has come to its end, whatever that is."""
        self._num_under_way -= 1

    def answered(self) -> None:
        """A call has its reply."""
        self._num_refused = 0

    def judged(self, error: ChimeraError) -> ChimeraError:
        """What a call that is under way raised → the same, or that no call gets through."""
        if isinstance(error, DoubtfulError):
            self._num_refused += 1
            if self._num_refused > max(MAX_REFUSED, PER_CALL * self._num_under_way):
                error.of_all.lost = error.lost
                return error.of_all
        elif isinstance(error, RowError) and not isinstance(error, TransientProviderError):
            self.answered()  # the endpoint has looked at what was asked
        return error
