"""Questions of the simulated world whose answers come in many forms, each in many spellings."""
