"""What Ray reads from the environment at its import, so that it is set before; imports no Ray."""

import os

REDIRECTING = ("RAY_ADDRESS", "RAY_GCS_SERVER_PORT")
"""of somebody's cluster: a local Ray that hears of them joins it, or wants its port"""
LOOPBACK = {
    # Named after the systems where Ray is for one machine only; with it, this machine's address is
    # 127.0.0.1, and every process of Ray listens there and nowhere else.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"
}
PATIENT_S = 180
"""for each step of Ray's start, which by default has 30 s: on a busy machine that is too short"""
PATIENT = {
    "RAY_gcs_server_port_wait_time_s": str(PATIENT_S),
    "RAY_raylet_start_wait_time_s": str(PATIENT_S),
    "RAY_agent_register_timeout_ms": str(PATIENT_S * 1_000),
    "RAY_worker_register_timeout_seconds": str(PATIENT_S),
    "RAY_DASHBOARD_STARTUP_TIMEOUT_S": str(PATIENT_S),
}
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # its notes are for Ray's developers
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # pages of its logs when it ends; the run says so in one line
}


def set_environment(kind: str) -> None:
    """Where the run happens → Ray's environment, in this process and its children.

    A cluster has its own, and this process is quiet there too. What the user set stays, unless it
    would take a local run elsewhere.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if kind != "local":
        return
    for name in REDIRECTING:
        os.environ.pop(name, None)
    os.environ.update(LOOPBACK)
    for name, value in PATIENT.items():
        os.environ.setdefault(name, value)
