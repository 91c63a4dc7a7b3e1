"""What holds for every test: no usage reports, no token files, no hub."""

import os

os.environ.update(
    RAY_USAGE_STATS_ENABLED="0",
    RAY_AUTH_MODE="disabled",
    HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
)
