"""The table of the forms: which questions a topic asks, and where it stands among the subjects.

Most forms stand under several topics, so that a recipe of some topics still meets nearly all.
"""

from collections.abc import Mapping
from types import MappingProxyType

from chimera_ray.backends.simulated_entry import Entry
from chimera_ray.backends.simulated_forms.algebra import (
    complex_number,
    line,
    ordinal,
    polynomial,
    rational,
    tiny_term,
)
from chimera_ray.backends.simulated_forms.closed import (
    inverse_value,
    large_root,
    logarithm,
    multiple_of_pi,
    power_of_two,
    root,
    special_value,
    trigonometric,
    value_with_e,
)
from chimera_ray.backends.simulated_forms.lists import (
    choice,
    finite_set,
    matrix,
    multiset,
    parts,
    point,
    selection,
    yes_or_no,
)
from chimera_ray.backends.simulated_forms.measures import calendar_date, unit, year_span
from chimera_ray.backends.simulated_forms.molecules import alkene, formula, ion
from chimera_ray.backends.simulated_forms.names import name, proposition, species
from chimera_ray.backends.simulated_forms.numbers import (
    fraction,
    percentage,
    ratio,
    rounded,
    scientific,
    time_signature,
)
from chimera_ray.backends.simulated_forms.reals import excluded, inequality, interval, union
from chimera_ray.backends.simulated_forms.words import (
    cross_product,
    group_word,
    operator_product,
    permutation,
    spaces,
    spin_product,
)

# fmt: off
FORM_ENTRIES: Mapping[str, Entry] = MappingProxyType({
    "closed_forms": Entry(
        "Mathematics", "Analysis", "Values in closed form",
        forms=(root, logarithm, multiple_of_pi, value_with_e),
    ),
    "derivatives": Entry(
        "Mathematics", "Analysis", "Derivatives and inverse functions",
        forms=(trigonometric, inverse_value, union, inequality),
    ),
    "real_sets": Entry(
        "Mathematics", "Analysis", "Solution sets on the real line",
        forms=(interval, union, inequality, excluded),
    ),
    "letter_algebra": Entry(
        "Mathematics", "Algebra", "Identities between expressions in letters",
        forms=(polynomial, rational, line, tiny_term),
    ),
    "analytic_geometry": Entry(
        "Mathematics", "Geometry", "Analytic geometry of lines and solids",
        forms=(line, point, root, multiple_of_pi, parts),
    ),
    "small_systems": Entry(
        "Mathematics", "Linear algebra", "Spectra and solutions of small systems",
        forms=(finite_set, multiset, point, matrix),
    ),
    "complex_plane": Entry(
        "Mathematics", "Algebra", "Complex numbers and roots of cubics",
        forms=(complex_number, finite_set, rational, ordinal),
    ),
    "generators": Entry(
        "Mathematics", "Group theory", "Permutations and words in generators",
        forms=(permutation, group_word, ordinal, spaces),
    ),
    "large_numbers": Entry(
        "Computer Science", "Number representation", "Exact values beyond machine precision",
        forms=(large_root, power_of_two, rounded, tiny_term),
    ),
    "propositions": Entry(
        "Computer Science", "Logic", "Propositions without arrows",
        forms=(proposition, selection, yes_or_no),
    ),
    "state_spaces": Entry(
        "Computer Science", "Graphs", "State spaces and their symmetries",
        forms=(spaces, permutation, group_word, power_of_two),
    ),
    "molecules": Entry(
        "Chemistry", "Nomenclature", "Names and formulas of compounds",
        forms=(formula, ion, alkene),
    ),
    "amounts": Entry(
        "Chemistry", "Measurement", "Amounts of substance in powers of ten",
        forms=(scientific, percentage, ion, alkene, fraction),
    ),
    "quantities": Entry(
        "Physics", "Quantities", "Quantities with units", forms=(unit, unit, choice, parts),
    ),
    "operators": Entry(
        "Physics", "Quantum mechanics", "Products of operators",
        forms=(operator_product, spin_product, matrix, multiset),
    ),
    "momenta": Entry(
        "Physics", "Mechanics", "Angular momenta as vectors",
        forms=(cross_product, unit, operator_product),
    ),
    "membranes": Entry(
        "Physics", "Waves", "Deflections of a membrane",
        forms=(special_value, complex_number, rounded, interval, excluded),
    ),
    "authors": Entry(
        "Literature", "Authorship", "Authors by their initials", forms=(name, name, year_span),
    ),
    "songs": Entry(
        "Literature", "Style", "Songs and their metre", forms=(time_signature, year_span),
    ),
    "treaties": Entry(
        "History", "Chronology", "Dates of treaties and spans of chronicles",
        forms=(calendar_date, year_span),
    ),
    "registers": Entry(
        "History", "Source criticism", "Entries of birth registers",
        forms=(name, calendar_date),
    ),
    "populations": Entry(
        "Biology", "Genetics", "Shares and ratios in a population",
        forms=(ratio, fraction, percentage, formula, species),
    ),
    "cultures": Entry(
        "Biology", "Microbiology", "Growth of bacterial cultures",
        forms=(species, species, logarithm, polynomial),
    ),
    "paraphrases": Entry(
        "Linguistics", "Semantics", "Paraphrases of implications",
        forms=(proposition, yes_or_no, selection, choice),
    ),
})
"""Every task of many forms, by its name."""
# fmt: on
