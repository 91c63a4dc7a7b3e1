"""Sentences that ask for the form of an answer, in problems of every kind: they tell none apart.

Known without any benchmark, so that one item alone is enough. Single letters stand for any letter.
"""

import re
from collections.abc import Sequence
from functools import cache

from chimera_ray.metrics.words import words

_SIZE = 5
_LETTER = re.compile("[a-zα-ω]")
_SENTENCES = """
The answer can be written as m/n, where m and n are relatively prime positive integers. Find m+n.
can be expressed in the form m/n where m and n are relatively prime positive integers. Compute m+n.
Given that x = m/n for relatively prime positive integers m and n, what is the value of m+n?
can be written in the form m/n, where m and n are coprime positive integers. What is m + n?
can be expressed as m/n, where m and n are positive integers and gcd(m, n) = 1. Find m+n.
The probability is m/n where m and n are relatively prime positive integers. Determine m+n.
can be expressed as a common fraction m/n in lowest terms. Find the value of m + n.
the ratio is \\frac{m}{n}, where m and n are relatively prime positive integers. Find m+n.
can be written as \\frac{m}{n}, where m and n are relatively prime positive integers. Find m+n.
can be expressed in the form \\frac{m}{n}, where m and n are coprime positive integers. Find m+n.
can be written in the form m\\sqrt{n}, where m and n are positive integers and n is not divisible by
the square of any prime. Find m+n.
can be expressed in the form \\frac{a\\sqrt{b}}{c}, where a, b, and c are positive integers, a and c
are relatively prime, and b is not divisible by the square of any prime. Find a+b+c.
can be written as a+b\\sqrt{c}, where a, b and c are positive integers and c is not divisible by the
square of any prime. Find a + b + c.
where a, b, c and d are positive integers and the fraction is in lowest terms. Find a+b+c+d.
Find the remainder when N is divided by 1000. Find the remainder when the answer is divided by 1000.
Let N be the number of such sequences. Find the remainder when N is divided by 1000.
Since the answer may be large, give it modulo 10^9+7. Give your answer modulo 1000000007.
Express your answer as a common fraction. Express your answer in simplest form.
Express your answer as a common fraction in lowest terms. Write your answer as a reduced fraction.
Express your answer in terms of \\pi. Express your answer in simplest radical form.
Express your answer as a decimal to the nearest tenth. Express your answer as a mixed number.
Express your answer in interval notation. Express your answer in scientific notation.
Express your answer as a decimal rounded to two decimal places. Express your answer as an integer.
Round your answer to the nearest whole number. Round your answer to the nearest integer.
Round your answer to two decimal places. Round your answer to three significant figures.
Give your answer to three significant figures. Give your answer as a simplified fraction.
Give your answer in the form (a, b). Give your answer in simplest form. Give an exact answer.
Give your final answer as a single number. Provide your final answer as a single integer.
Enter your answer as an ordered pair. Enter all possible values, separated by commas.
Enter all the solutions, separated by commas. List your answers in increasing order.
Put your final answer within \\boxed{}.
Please reason step by step, and put your final answer in a box.
Report your answer as a reduced fraction. Report your answer to four decimal places.
Which of the following statements is correct? Which of the following is true? Select all that apply.
What is the smallest possible value of x? What is the largest possible value of x?
Find the sum of all possible values of x. Find all possible values of x.
"""


@cache
def _known() -> frozenset[tuple[str, ...]]:
    tokens = [_any_letter(word) for word in words(_SENTENCES)]
    return frozenset(tuple(tokens[i : i + _SIZE]) for i in range(len(tokens) - _SIZE + 1))


def is_boilerplate(tokens: Sequence[str]) -> list[bool]:
    """Words → for each, whether it stands in five words of a known sentence."""
    masked = [_any_letter(word) for word in tokens]
    found = [False] * len(masked)
    for start in range(len(masked) - _SIZE + 1):
        if tuple(masked[start : start + _SIZE]) in _known():
            found[start : start + _SIZE] = [True] * _SIZE
    return found


def _any_letter(word: str) -> str:
    return "x" if _LETTER.fullmatch(word) else word
