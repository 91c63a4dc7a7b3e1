"""What every part of the configuration is."""

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Frozen, and a key that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())
