"""The longest run of words that two texts share, each word by its weight. Linear in both."""

from collections.abc import Sequence
from itertools import accumulate

MAX_RUN_WORDS = 20_000


class RunFinder:
    """One text's words, asked for the longest run that they share with others (an automaton).

    Texts over 20,000 words are cut there.
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        """Takes the words in order."""
        self._states = _suffix_automaton(tokens[:MAX_RUN_WORDS])

    def longest(self, tokens: Sequence[str], weights: Sequence[float]) -> float:
        """Words and the weight of each → the weight of the heaviest run that is in the text too.

        Of one weight for all, that is the longest common contiguous run.
        """
        follow, link, length = self._states
        sums = [0.0, *accumulate(weights)]
        state = run = 0
        heaviest = 0.0
        for place, word in enumerate(tokens[:MAX_RUN_WORDS], start=1):
            while state and word not in follow[state]:
                state = link[state]
                run = length[state]
            if word in follow[state]:
                state = follow[state][word]
                run += 1
                heaviest = max(heaviest, sums[place] - sums[place - run])
        return heaviest


def _suffix_automaton(tokens: Sequence[str]) -> tuple[list[dict[str, int]], list[int], list[int]]:
    """Tokens → transitions, suffix link and longest length of each state (Blumer et al., 1985)."""
    follow: list[dict[str, int]] = [{}]
    link, length, last = [-1], [0], 0
    for token in tokens:
        new, state = len(follow), last
        follow.append({})
        link.append(0)
        length.append(length[last] + 1)
        while state >= 0 and token not in follow[state]:
            follow[state][token] = new
            state = link[state]
        if state >= 0:
            target = follow[state][token]
            if length[target] == length[state] + 1:
                link[new] = target
            else:
                clone = len(follow)
                follow.append(dict(follow[target]))
                link.append(link[target])
                length.append(length[state] + 1)
                while state >= 0 and follow[state].get(token) == target:
                    follow[state][token] = clone
                    state = link[state]
                link[target] = link[new] = clone
        last = new
    return follow, link, length
