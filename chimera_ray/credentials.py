"""What in a configuration is a secret: found by its name, by its form, or by the environment.

A secret is given by the *name* of an environment variable. A configuration is written beside the
run's data, so a value in it would be published; the messages here name the place, never the value.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence

from chimera_ray.errors import ConfigError

HINT = "give the name of an environment variable that holds it, never the value itself"
_NAME = re.compile(
    r"(?:^|[^a-z])(?:auth|authorization|bearer|credentials?|cookie|passwd|pwd|secret|signature"
    r"|pass(?:code|phrase|word)?"
    r"|(?:access|api|auth|authorization|bearer|client|hf|id|personal|private|refresh|security"
    r"|service|session|user|x)[-_]?token"
    r"|(?:access|account|api|auth|client|encryption|functions?|license|master|private|secret"
    r"|service|signing|subscription)[-_]?key(?:[-_]?id)?)$|^token$",
    re.IGNORECASE,
)
_SENT_NAME = re.compile(r"(?:^|[^a-z])(?:key|token|session|code|sig)$", re.IGNORECASE)
"""the same for a header or a field of the query, where such a name means nothing else"""
_SENT = frozenset({"headers", "query"})
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_VARIABLE = re.compile(r"(?:^|_)(?:API_?KEY|KEY|TOKEN|SECRET|PASSWORD|PASSWD)(?:_|$)", re.I)
_FORMS = re.compile(
    r"""\bsk[-_][A-Za-z0-9_-]{8,}
      | \b(?:rk|pk|xai|gsk|hf|gh[oprsu]|github_pat|glpat|pplx|nvapi|r8|csk|fw|tgp|xox[abprs])
        [-_](?=[A-Za-z_-]{0,64}[0-9])[A-Za-z0-9_-]{8,}
      | \b(?:AKIA|ASIA)[A-Z0-9]{12,} | \bAIza[A-Za-z0-9_-]{20,}
      | \beyJ(?:(?!-eyJ)[A-Za-z0-9_-]){8,}\.[A-Za-z0-9_-]{8,}
      | \b(?i:bearer|basic)\s+(?:(?=[^\s0-9]*[0-9])[A-Za-z0-9._~+/=-]{6,}|[A-Za-z0-9._~+/=-]{20,})
      | -----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY
      | (?<=://)[^/@\s:]*:(?!\d+/)(?:(?!://)[^@\s])+(?=@)
      | (?:(?<=https://)|(?<=http://)|(?<=s3://)|(?<=gs://))[^/@\s?#]+(?=@)
      | (?<=[?&;])(?i:[a-z_-]*(?:key|token|secret|password|passwd|signature)|sig|auth)=[^&\s]+
    """,
    re.VERBOSE,
)
"""how keys of providers and hosts begin, and what an address carries of them"""
_FREE = ("extra_body", "headers", "query", "engine_args", "chat_template_args", "api_key_env")
"""fields that go to a server as they are: a long random string there is a key"""
_RANDOM = re.compile(r"(?<![A-Za-z0-9])(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[A-Za-z0-9+/=]{16,}")
_PAIR = re.compile(r"(?<![\w-])([\w-]+)[\"']?\s*:\s*(?:\{\s*[\"']?value[\"']?\s*:\s*)?[^\s{\[,}\]]")
"""the names of a mapping's texts, as a command line writes it"""
_MIN_PART, _MIN_WHOLE = 12, 6
"""characters of a variable's value that is looked for inside a text, and as the whole text"""
_COLOURS = re.compile(r"(\x1b\[[0-9;]*m)")
HIDDEN = "[hidden]"


def require_none(composed: object) -> None:
    """Raises, if a text of a configuration is a secret.

    Raises:
        ConfigError: each such place, without the value.
    """
    held = _held_by_variables()
    found = [
        f"{'.'.join(map(str, place))}: {why}"
        for place, text in _texts(composed, ())
        if (why := _why(place, text, held))
    ]
    if found:
        raise ConfigError(f"{'; '.join(found)}: {HINT}")


def require_none_in(arguments: Sequence[str]) -> None:
    """Raises, if an override of a command line holds a secret, before anything repeats it.

    Raises:
        ConfigError: each such override, without the value.
    """
    for argument in arguments:
        key, _, value = argument.partition("=")
        place = key.lstrip("+~")
        names = tuple(place.split("."))
        why = _why(names, value, _held_by_variables())
        if not why and any(_is_named(name, names) for name in _PAIR.findall(value)):
            why = "holds a secret by its name"
        if not why and _FORMS.search(argument):
            why = "looks like a key, or carries a password"
        if why:
            raise ConfigError(f"{redacted(place)}: {why}: {HINT}")


def is_secret(place: str, text: str) -> bool:
    """A key, as dots part it, and its text → whether the text is to be kept to itself."""
    return bool(_why(tuple(place.split(".")), text, _held_by_variables()))


def redacted(text: str) -> str:
    """A text → the same without what has the form of a secret, or is one of this environment."""
    for value in sorted(_held_by_variables(), key=len, reverse=True):
        if len(value) >= _MIN_PART:
            text = text.replace(value, HIDDEN)
    parts = _COLOURS.split(text)  # behind one no word would begin
    return "".join(_FORMS.sub(HIDDEN, part) for part in parts)


def _texts(value: object, place: tuple[object, ...]) -> Iterator[tuple[tuple[object, ...], str]]:
    """A value → the texts in it, keys of mappings included, each with its place."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if isinstance(key, str) and _FORMS.search(key):
                yield (*place, HIDDEN), key
            else:
                yield from _texts(inner, (*place, key))
    elif isinstance(value, list | tuple):
        for at, inner in enumerate(value):
            yield from _texts(inner, (*place, at))
    elif isinstance(value, str):
        yield place, value


def _why(place: tuple[object, ...], text: str, held: Mapping[str, str]) -> str:
    """A place and its text → why that is a secret; empty: it is none."""
    if "oc.env" in text and "${" in text:
        return "takes in an environment variable's value, which would be written into the run"
    if text in held and len(text) >= _MIN_WHOLE:
        return f"is what the environment variable {held[text]} holds"
    if any(value in text for value in held if len(value) >= _MIN_PART):
        return "holds the value of an environment variable that is a secret"
    if _FORMS.search(text):
        return "looks like a key, or carries a password"
    names = [part for part in place if isinstance(part, str)]
    if len(names) > 1 and names[-1] == "value":  # of a header
        names.pop()
    name = names[-1] if names else ""
    if text and _is_named(name, names):
        return "is a secret by its name"
    if name.endswith("revision") or not any(part in _FREE for part in place):
        return ""
    return "looks like a key" if _RANDOM.search(text) else ""


def _is_named(name: str, place: Sequence[str]) -> bool:
    """Whether what has this name, at or below a place, is a secret by it."""
    said = _CAMEL.sub("_", name)
    is_sent = not _SENT.isdisjoint(place) and _SENT_NAME.search(said)
    return bool(is_sent or _NAME.search(said))


def _held_by_variables() -> dict[str, str]:
    """The values of this environment's secrets, each with its variable's name."""
    return {
        value.strip(): name
        for name, value in os.environ.items()
        if _VARIABLE.search(name) and len(value.strip()) >= _MIN_WHOLE
    }
