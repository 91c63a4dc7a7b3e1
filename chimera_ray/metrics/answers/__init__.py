"""Two answers → the same, where both are read without remainder and shown equal; else left open.

`normal_text` undoes notation, `tokens` cuts it up; `numerals`, `units`, `chemistry`, `expression`
read one kind of thing each, `reading` says what a whole answer is. `comparison` holds two readings
against each other, by the exact arithmetic of `algebra` and `closed_forms`; `proof` may prove what
that leaves, in a `child` of the `pool`. `match` is what others call. Whatever is not fully
understood is left open: no function here ever says that two answers differ.
"""
