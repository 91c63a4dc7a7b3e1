"""chimera-ray: verified synthetic reasoning data on Ray Data. The map of the house, top to bottom.

    4  jobs/                  argv, Hydra, printing
    3  build                  one run, whole          progress, report   what a person sees
       drive                  fold, carry, look again    publish   the data set and its card
       account, audit         what it came to         runners/   what carries rows: local, ray_data
       contamination          the paper's Table 4
       frontier               what is done and to do  graph      a recipe, judged
    2  stage, stages/ | backends/ | ledger/           three siblings that never import one another
    1  prompts/  text/  metrics/  benchmarks          pure functions of text and numbers
    0  schemas  call_log  llm  config  errors         nouns

Imports point down only. Ray lives in `runners/ray_data.py`, Hydra in `jobs/`.
"""
