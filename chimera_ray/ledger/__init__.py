"""The ledger: what was done, by whom, what it cost and what it gave; the truth of every run.

One folder by stage and stage fingerprint, shared by every run of an output directory:
`<output_dir>/ledger/<stage>/<fingerprint>/part-*.parquet`. Knows nothing of stages or models.
"""
