"""The table of the forms: which questions a topic asks, and where it stands among the subjects."""

from collections.abc import Mapping
from types import MappingProxyType

from chimera_ray.backends.simulated_entry import Entry
from chimera_ray.backends.simulated_forms import (
    algebra,
    closed,
    lists,
    measures,
    molecules,
    numbers,
    reals,
    words,
)

FORM_ENTRIES: Mapping[str, Entry] = MappingProxyType(
    {
        "roots_and_logarithms": Entry(
            "Mathematics",
            "Analysis",
            "Values in closed form",
            forms=(
                *(closed.root, closed.multiple_of_pi, closed.logarithm, closed.value_with_e),
                *(closed.trigonometric, closed.inverse_value),
            ),
        ),
        "real_sets": Entry(
            "Mathematics",
            "Analysis",
            "Domains and solution sets on the real line",
            forms=(reals.interval, reals.union, reals.inequality, reals.excluded),
        ),
        "letter_algebra": Entry(
            "Mathematics",
            "Algebra",
            "Identities between expressions in letters",
            forms=(algebra.polynomial, algebra.rational, algebra.line, algebra.tiny_term),
        ),
        "small_systems": Entry(
            "Mathematics",
            "Linear algebra",
            "Spectra and solutions of small systems",
            forms=(lists.finite_set, lists.multiset, lists.point, lists.matrix),
        ),
        "noncommuting_products": Entry(
            "Mathematics",
            "Group theory",
            "Permutations and words in generators",
            forms=(words.permutation, words.group_word, words.spaces, algebra.ordinal),
        ),
        "large_numbers": Entry(
            "Computer Science",
            "Number representation",
            "Exact values beyond machine precision",
            forms=(closed.large_root, closed.power_of_two, numbers.rounded),
        ),
        "propositions": Entry(
            "Computer Science",
            "Logic",
            "Propositions without arrows",
            forms=(words.proposition, lists.yes_or_no, lists.selection),
        ),
        "molecules": Entry(
            "Chemistry",
            "Nomenclature",
            "Names and formulas of compounds",
            forms=(molecules.formula, molecules.ion, molecules.alkene),
        ),
        "amounts": Entry(
            "Chemistry",
            "Measurement",
            "Amounts of substance in powers of ten",
            forms=(numbers.scientific, numbers.percentage),
        ),
        "quantities": Entry(
            "Physics",
            "Quantities",
            "Quantities with units",
            forms=(measures.unit, measures.unit, lists.choice, lists.parts),
        ),
        "operators": Entry(
            "Physics",
            "Quantum mechanics",
            "Products of operators and of vectors",
            forms=(
                *(words.operator_product, words.spin_product, words.cross_product),
                *(closed.special_value, algebra.complex_number),
            ),
        ),
        "authors": Entry(
            "Literature",
            "Authorship",
            "Authors by initials and songs by metre",
            forms=(words.name, words.name, numbers.time_signature),
        ),
        "dates": Entry(
            "History",
            "Chronology",
            "Dates of treaties and spans of chronicles",
            forms=(measures.calendar_date, measures.year_span),
        ),
        "populations": Entry(
            "Biology",
            "Genetics",
            "Shares and species in a population",
            forms=(words.species, numbers.ratio, numbers.fraction),
        ),
    }
)
"""Every task of many forms, by its name."""
