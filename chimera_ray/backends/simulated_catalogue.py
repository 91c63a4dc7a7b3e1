"""The table of the simulated world: a task → its subject, area, topic and how its items are made.

Every task here has one short true answer and a self-contained text. The tasks of reasoning-gym
answer with integers and short strings; every other form comes from `simulated_forms`. Left out on
purpose: tasks with many right answers, tasks that read large files or draw from the process-wide
random state, tasks that need matplotlib (the games of life), tasks whose truth is open to dispute
or rounded on the way (decimal_arithmetic), and tasks whose items change with PYTHONHASHSEED (in
reasoning-gym 0.1.25: ransom_note, isomorphic_strings, polynomial_multiplication).
"""

from collections.abc import Mapping
from datetime import date
from types import MappingProxyType

from chimera_ray.backends.simulated_entry import Entry
from chimera_ray.backends.simulated_forms.entries import FORM_ENTRIES

# fmt: off
_MATHEMATICS = {
    "chain_sum": Entry(
        "Mathematics", "Arithmetic", "Sums and differences of integers",
        {"min_terms": 5, "max_terms": 8, "min_digits": 3, "max_digits": 5},
        ("Take {expression} from left to right, one term at a time.",),
    ),
    "basic_arithmetic": Entry(
        "Mathematics", "Arithmetic", "Order of operations",
        {"min_terms": 5, "max_terms": 8, "max_digits": 3, "operators": ("+", "-", "*")},
        ("In {expression}, brackets come first.", "Then products, then sums and differences."),
    ),
    "products": Entry(
        "Mathematics", "Arithmetic", "Products of large integers",
        {"min_terms": 2, "max_terms": 3, "min_digits": 3, "max_digits": 5},
        ("Split each factor of {expression} by place value.", "Add the partial products."),
    ),
    "gsm_symbolic": Entry("Mathematics", "Arithmetic", "Arithmetic word problems"),
    "gcd": Entry(
        "Mathematics", "Number theory", "Greatest common divisors",
        {"min_numbers": 2, "max_numbers": 4, "max_value": 9000},
        ("The numbers are {numbers}.", "Divide with remainder until the remainder is zero."),
    ),
    "prime_factorization": Entry(
        "Mathematics", "Number theory", "Prime factorization",
        {"min_value": 1000, "max_value": 90000},
        ("Divide {number} by the smallest prime that divides it.", "Repeat with the quotient."),
    ),
    "count_primes": Entry(
        "Mathematics", "Number theory", "Counting primes in an interval", {"max_n": 3000},
        ("Sieve the integers from {start} to {end} by the primes up to 54.",),
    ),
    "number_filtering": Entry(
        "Mathematics", "Order", "Filtering numbers by an inequality",
        {"min_numbers": 6, "max_numbers": 10, "max_decimals": 2},
        ("Compare each of {original_numbers} with {filter_value}.",),
    ),
    "simple_equations": Entry(
        "Mathematics", "Algebra", "Linear equations in one unknown",
        {"min_terms": 3, "max_terms": 5},
        ("Collect the terms with {variable} in {equation} on one side.", "Divide by the factor."),
    ),
    "rotate_matrix": Entry(
        "Mathematics", "Linear algebra", "Rotations of a square matrix",
        {"min_n": 4, "max_n": 7, "min_rotations": 1},
        ("{num_rotations} quarter turns are the same as their remainder modulo 4.",),
    ),
    "manipulate_matrix": Entry(
        "Mathematics", "Linear algebra", "Sequences of matrix transformations",
        {"min_rows": 3, "min_cols": 3, "max_rows": 6, "max_cols": 6, "max_transforms": 5},
        ("Write the matrix down again after each of the operations.",),
    ),
    "dice": Entry(
        "Mathematics", "Probability", "Sums of unequal dice", {"num_dice": 4, "max_dice_size": 20},
        ("For the dice {puzzle[dice_str]}, count the rolls that reach {puzzle[target]}.",
         "Divide by the number of all rolls and reduce."),
    ),
}

_COMPUTER_SCIENCE = {
    "ab": Entry(
        "Computer Science", "Rewriting systems", "Token rewriting in the A::B system",
        {"length": 13}, ("Rewrite neighbours that face each other until none do.",),
    ),
    "base_conversion": Entry(
        "Computer Science", "Number representation", "Conversion between number bases",
        {"min_value": 1000, "max_value": 100000},
        ("{source_repr} in base {source_base} is {decimal_value} in base ten.",
         "Divide by {target_base} and read the remainders backward."),
    ),
    "bitwise_arithmetic": Entry(
        "Computer Science", "Number representation", "Bitwise arithmetic on hexadecimal numbers",
        {"difficulty": 3}, ("Work from the innermost bracket of {problem} outward.",),
    ),
    "count_bits": Entry(
        "Computer Science", "Number representation", "Counting one bits",
        {"min_n": 1 << 20, "max_n": (1 << 40) - 1},
        ("In binary the number is {binary}.", "Count the ones."),
    ),
    "number_sorting": Entry(
        "Computer Science", "Algorithms on lists", "Sorting numbers",
        {"min_numbers": 6, "max_numbers": 12},
        ("Compare {original_numbers} in pairs and put them in {direction} order.",),
        cut=(
            "Please follow the instruction below:\n## 1. ",
            "## 2. Convert all numbers in the square brackets as strings. "
            "For example, ['-69', '-13', '1', '7', '11', '43', '59', '61']\n",
        ),
    ),
    "spiral_matrix": Entry(
        "Computer Science", "Algorithms on grids", "Spiral order of a matrix",
        {"min_n": 4, "max_n": 7},
        ("Take the outer ring clockwise.", "Go on with the next ring inward."),
        cut=(
            "Hint: Think of peeling the matrix layer by layer from the outside inward. Each layer "
            "forms a rectangular frame, and you traverse each frame clockwise starting from its "
            "top-left corner.\n\n",
            " More precisely:\n- Start from the top-left corner and move right along the top row."
            "\n- Move down along the right column.\n- Move left along the bottom row.\n- Move up "
            "along the left column.\n- Repeat the steps for the inner elements of the matrix until "
            "every entry is visited.",
        ),
    ),
    "maze": Entry(
        "Computer Science", "Algorithms on grids", "Shortest routes through a maze",
        {"min_grid_size": 7, "max_grid_size": 9},
        ("Search breadth first from {start}, one ring of cells at a time.",),
    ),
    "mini_sudoku": Entry(
        "Computer Science", "Constraint satisfaction", "Four by four number placement",
        {}, ("{num_empty} cells are open.", "Fill each cell that has one candidate, and repeat."),
    ),
    "course_schedule": Entry(
        "Computer Science", "Graphs", "Cycles in prerequisites",
        {"min_num_courses": 6, "max_num_courses": 12},
        ("Remove courses without open prerequisites.", "A cycle remains exactly if some stay."),
        is_closed=True,
    ),
    "binary_alternation": Entry(
        "Computer Science", "Algorithms on lists", "Swaps to an alternating string",
        {"min_n": 16, "max_n": 40},
        ("Of {string}, count the places that differ from each of the two alternating strings.",
         "Every swap repairs two places."),
        cut=("Given a binary string, return the minimum number of character swaps to make it "
             "alternating, or -1 if it is impossible.\n\n",
             ' For example, the strings "010" and "1010" are alternating, while the string "0100" '
             "is not."),
        note="Reply -1 if it is impossible.",
    ),
    "path_star": Entry(
        "Computer Science", "Graphs", "Paths in star graphs", {"max_path_length": 6},
        ("Only one arm leaves {center} toward {goal}.", "Follow it backward from {goal}."),
    ),
    "self_reference": Entry(
        "Computer Science", "Logic", "Self-referring statements", {"difficulty": 9},
        ("Try every assignment of truth to the statements and keep the consistent ones.",),
        is_closed=True,
    ),
}

_CHEMISTRY = {
    "string_synthesis": Entry(
        "Chemistry", "Reactions", "Exhaustive synthesis from building blocks",
        {"min_initial_blocks": 3, "max_initial_blocks": 20},
        ("Apply the first rule that fits to the counts, and start again.",),
        cut=("\nNote: Apply the rules at most 1000 times. If the rules cannot be applied anymore, "
             "or if you have reached the maximum number of iterations, stop and provide the "
             "current counts.",),
    ),
    "fraction_simplification": Entry(
        "Chemistry", "Stoichiometry", "Ratios in lowest terms",
        {"min_value": 20, "max_value": 3000, "min_factor": 6, "styles": ("plain",)},
        ("{numerator} and {denominator} share the factor {reduction_factor}.",),
    ),
    "lcm": Entry(
        "Chemistry", "Stoichiometry", "Least common multiples for balancing",
        {"min_numbers": 2, "max_numbers": 4, "min_value": 4, "max_value": 60},
        ("Factor {numbers}.", "Take every prime at its highest power."),
    ),
    "decimal_chain_sum": Entry(
        "Chemistry", "Measurement", "Balances of decimal quantities",
        {"min_terms": 4, "max_terms": 7, "min_digits": 2, "max_digits": 3},
        ("Line up the decimal points of {expression}.", "Go from left to right."),
    ),
}

_PHYSICS = {
    "simple_geometry": Entry(
        "Physics", "Geometry of bodies", "Angles of convex polygons",
        {"min_sides": 4, "max_sides": 8, "min_angle": 70, "max_angle": 170},
        ("The {n_sides} angles add up to {total_interior_sum} degrees.",
         "The known ones add up to {sum_of_known_angles}."),
        cut=("Return only the angle as your answer.", "Do not give the units in your answer."),
    ),
    "color_cube_rotation": Entry(
        "Physics", "Geometry of bodies", "Rotations of a coloured cube",
        {"min_rotations": 2, "max_rotations": 4},
        ("Follow the sides {initial_state} through the {num_rotations} rotations.",),
        rivals=r"a ([a-z]+) [a-z]+ side",
    ),
    "complex_arithmetic": Entry(
        "Physics", "Quantities", "Arithmetic of complex amplitudes",
        {"min_real": -60, "max_real": 60, "min_imag": -60, "max_imag": 60},
        ("Treat the real and the imaginary parts of {num1} and {num2} apart.",),
    ),
    "power_function": Entry(
        "Physics", "Quantities", "Powers in scientific notation", {"max_exponent": 6},
        ("Raise {base} to the power {exponent}.", "Round the mantissa to three figures."),
        answer="{solution:.2e}",
    ),
    "circuit_logic": Entry(
        "Physics", "Electronics", "Outputs of logic circuits",
        {"max_terms": 4, "max_inputs": 4},
        ("The circuit computes {expression}.", "Put in {assignments}."),
        is_closed=True,
    ),
}

_LITERATURE = {
    "letter_jumble": Entry(
        "Literature", "Textual reconstruction", "Unscrambling the words of a passage",
        {"min_word_len": 7, "max_word_len": 14, "min_words": 4, "max_words": 8},
        ("The scrambled words are {scrambled_words}.", "Each has the letters of one known word."),
        cut=("Your task is to unsramble words in a sentence.\n\n",
             " Moreover, the style of the sentence is preserved (i.e. punctuation, capitalization, "
             "new lines, etc.)."),
    ),
    "word_sequence_reversal": Entry(
        "Literature", "Style", "Reversed word order", {"min_words": 7, "max_words": 12},
        ("Number the words {words} and read them from the last to the first.",),
        cut=("Solve the following problem.\n\n",),
    ),
    "letter_counting": Entry(
        "Literature", "Style", "Letter counts in a prose passage",
        {"min_words": 10, "max_words": 22},
        ("Go through {span} word by word and mark each {target_letter}.",),
        note="Capital letters count as well.",
    ),
    "needle_haystack": Entry(
        "Literature", "Close reading", "Locating a statement in a passage",
        {"min_num_statements": 8, "max_num_statements": 20},
        ("The passage holds {num_statements} statements; one fits the question.",),
        rivals=r"(?:^|[.] )([A-Z][\w-]+)",
    ),
}

_HISTORY = {
    "calendar_arithmetic": Entry(
        "History", "Chronology", "Weekdays and calendar counts",
        {"year": 1848, "tasks": ["weekday_offset", "weekday_of_date", "count_days",
                                 "count_business_days"]},
        ("Count whole weeks and leap days from a known date.",),
        is_closed=True,
        note="Dates with slashes are month/day/year.",
    ),
    "time_intervals": Entry(
        "History", "Chronology", "Intervals between dated events",
        {"task_types": ["datetime", "datetime_tz"], "min_date": date(1776, 1, 1),
         "max_date": date(1989, 12, 31)},
        ("Bring both moments to one offset: {start_time} and {end_time}.", "Subtract."),
    ),
    "family_relationships": Entry(
        "History", "Genealogy", "Kinship in family trees",
        {"min_family_size": 6, "max_family_size": 9},
        ("Draw the tree and find the way from {person1} to {person2}.",),
        is_closed=True,
    ),
    "knights_knaves": Entry(
        "History", "Source criticism", "Truthful and lying witnesses", {"n_people": 3},
        ("Suppose that the first witness lies, and look for a contradiction.",),
    ),
}

_BIOLOGY = {
    "leg_counting": Entry(
        "Biology", "Zoology", "Leg counts of animal groups", {"min_animals": 4, "max_animals": 8},
        ("Multiply each count in {animals} by the legs of the animal.", "Add the products."),
    ),
    "rotten_oranges": Entry(
        "Biology", "Epidemiology", "Spread of rot in a grid", {"min_n": 6, "max_n": 10},
        ("Start from all rotten cells at once and count the rounds of spreading.",),
    ),
    "largest_island": Entry(
        "Biology", "Biogeography", "Area of the largest island",
        {"min_num_islands": 3, "max_num_islands": 6, "min_island_size": 3, "max_island_size": 10},
        ("Flood each island once and count its cells.",),
        cut=("You may assume all four edges of the grid are surrounded by water.\n\n",),
    ),
    "binary_matrix": Entry(
        "Biology", "Biogeography", "Distance to the nearest empty cell", {"min_n": 5, "max_n": 7},
        ("Let the distances grow from all zeros at once.",),
    ),
}

_LINGUISTICS = {
    "caesar_cipher": Entry(
        "Linguistics", "Cryptography", "Shift ciphers", {"min_words": 6, "max_words": 18},
        ("Frequent letters suggest a shift by {rotation}.", "Shift every letter back."),
    ),
    "word_sorting": Entry(
        "Linguistics", "Lexicography", "Sorting words by code points",
        {"min_words": 7, "max_words": 12},
        ("Capitals come before small letters.", "Put {original_words} in {direction} order."),
        cut=("Your task is to sort words in ascending or descending order using ASCII/Unicode "
             "ordering.\n\n", ", e.g. word_1, word_2, word_3"),
    ),
    "spell_backward": Entry(
        "Linguistics", "Orthography", "Backward spelling", {"min_word_len": 7},
        ("The word {word} has {word_len} letters.", "Read them from the last to the first."),
        cut=(" (example: sun -> nus)",),
    ),
    "string_manipulation": Entry(
        "Linguistics", "Formal languages", "Ordered string rewriting rules",
        {"min_string_length": 8, "max_num_rules": 5},
        ("Apply the first rule that fits, and start again from the first rule.",),
    ),
}

# fmt: on

CATALOGUE: Mapping[str, Entry] = MappingProxyType(
    _MATHEMATICS
    | _COMPUTER_SCIENCE
    | _CHEMISTRY
    | _PHYSICS
    | _LITERATURE
    | _HISTORY
    | _BIOLOGY
    | _LINGUISTICS
    | dict(FORM_ENTRIES)
)
"""Every task of the world, by its name: reasoning-gym's, or that of a table of forms."""
