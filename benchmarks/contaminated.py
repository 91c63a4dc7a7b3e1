"""Benchmark items to be kept out: short ones inside longer texts, and pairs that share a form."""

import re
from random import Random

from planted import TEMPLATES, filled

SHORT_ITEMS = """
What is 17 factorial modulo 23?
Evaluate $\\int_0^1 x^2 e^x \\, dx$.
Find the last three digits of $7^{2025}$.
How many primes lie between 100 and 150?
Solve $x^3 - 6x^2 + 11x - 6 = 0$ over the reals.
Compute the determinant of the $5 \\times 5$ Hilbert matrix.
What is the expected number of coin flips until HTH appears?
Determine the boiling point of a 2 molal glucose solution in water.
Find the number of spanning trees of the complete bipartite graph $K_{4,7}$.
How many trailing zeros does $2025!$ have when it is written in base 12?
A ball is thrown upwards at 20 m/s; how long is it in the air?
What is the sum of the squares of all the positive divisors of the number 360?
Find the area of the triangle whose sides have the lengths 13, 14 and 15 in the plane.
In how many ways can eight rooks be placed on a chessboard so that none attacks another one?
What mass of carbon dioxide is released when 50 grams of pure calcium carbonate are heated until decomposed?
Which amino acid is encoded by the codon AUG in the standard genetic code of the eukaryotes?
Determine the smallest positive integer that leaves remainder 2, 3 and 4 when divided by 5, 7 and 11 in turn.
""".strip().splitlines()

STEMS = """
A frog starts at vertex A of a regular octagon and hops to a neighbouring vertex every second. The probability that it is back at A after ten seconds
Two circles of radii 5 and 12 are externally tangent, and a third circle touches both of them and their common tangent. The radius of the third circle
Ana and Ben each choose a number from the interval from 0 to 1 uniformly at random. The expected value of the larger of the two numbers, given that their sum exceeds one,
A cube with side 6 is cut by a plane through the midpoints of three edges that are pairwise skew. The ratio of the volumes of the two pieces
In triangle ABC the incircle touches BC at D, and the line AD meets the incircle again at E. With AB = 7, BC = 9 and CA = 10, the length of DE
A deck of 40 cards has four cards of each of ten values. After a matching pair has been removed, the probability that two randomly drawn cards form a pair
Let the sequence be defined by a first term of 2 and by each term being the reciprocal of one less than the term before it squared. The sum of the first five terms
Nine tiles are numbered from 1 to 9, and each of three players takes three of them at random. The probability that all three players obtain an odd sum
An equilateral triangle is inscribed in the ellipse whose equation is x squared plus four y squared equals four, with one vertex at the top. The square of its side
Points P and Q are chosen independently and uniformly on the sides of a unit square. The probability that their distance is at most one half
A rectangular sheet of paper with sides 15 and 20 is folded so that two opposite corners coincide. The length of the crease
Let S be the set of all polynomials of degree four whose coefficients are digits and which vanish at minus one. The share of them that also vanish at two
""".strip().splitlines()

TAILS = """
can be written as $\\frac{m}{n}$, where $m$ and $n$ are relatively prime positive integers. Find $m+n$.
is $\\frac{p}{q}$ for relatively prime positive integers $p$ and $q$. Find $p+q$.
can be expressed in the form $m/n$, where $m$ and $n$ are coprime positive integers. What is the value of $m+n$?
can be expressed as $\\frac{a\\sqrt{b}}{c}$, where $a$, $b$, and $c$ are positive integers, $a$ and $c$ are relatively prime, and $b$ is not divisible by the square of any prime. Find $a+b+c$.
is to be determined. Express your answer as a common fraction in lowest terms.
is to be determined. Round your answer to two decimal places and give your final answer as a single number.
is a rational number that equals $m/n$ in lowest terms. Give as your answer the remainder when $m+n$ is divided by 1000.
has to be found. Please reason step by step, and put your final answer within \\boxed{}.
""".strip().splitlines()


def inside(item: str, dice: Random) -> str:
    """An item → a longer text of other matter with the item in its middle."""
    parts = re.split(r"(?<=[.?!])\s+(?=[A-Z])", filled(dice.choice(TEMPLATES), dice))
    at = dice.randint(1, len(parts) - 1)
    return " ".join([*parts[:at], item, *parts[at:]])


def formed(tail: str) -> list[str]:
    """A form of answers → different problems that ask for it."""
    return [f"{stem} {tail}" for stem in STEMS]
