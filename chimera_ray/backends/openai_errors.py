"""What an endpoint answers in place of a reply → our errors: what passes, ends the row, or the run.

A server's words may quote the prompt or the key: they are shown only where they do neither.
"""

import re
import ssl
from collections.abc import Mapping

from aiohttp import ClientHttpProxyError, ClientProxyConnectionError

from chimera_ray.backends.openai_answer import Answer
from chimera_ray.backends.openai_error_body import ErrorBody, error_body
from chimera_ray.backends.openai_quotes import masked, shown
from chimera_ray.backends.openai_verdicts import (
    LASTING,
    Verdict,
    is_limited,
    is_unexplained,
    is_value_refused,
    names_format,
    refused_field,
    refuses_format,
    verdict_of,
)
from chimera_ray.backends.rate_headers import WINDOWS, duration_s, retry_after_s, window_s
from chimera_ray.errors import (
    ChimeraError,
    ContextError,
    EndpointError,
    ProviderError,
    RefusalError,
    TransientProviderError,
)
from chimera_ray.llm import Request
from chimera_ray.model_config import OpenAIModel

CODE_CHARS = 60
_WAIT = re.compile(
    r"(?:(?:retry|try again) (?:in|after)|wait) (?:"
    r"((?:\d+(?:\.\d+)?(?:ms|[smhd])){1,4})\b|(\d{1,6}(?:\.\d{1,9})?) ?(ms|[smh])(?:[a-z]*)\b)"
)
"""`6m0s`, or a number and a unit, written out or not"""
_ALSO_OF_FORMATS = frozenset({404, 500, 501})
_REFUSING_PROXY = frozenset({401, 403, 405, 407})
_SWITCHES = {
    "seed": "set sends_seed: false",
    "max_completion_tokens": "set token_limit_field: max_tokens",
    "max_tokens": "set token_limit_field: max_completion_tokens",
    "response_format": "set structured_output: none",
    "stream": "set stream: never",
    "stream_options": "set stream: never",
}
"""field of the request → what leaves it out of the model file"""


class DoubtfulError(ProviderError):
    """A refusal that does not say whether it is for this call's words, or for every call."""

    of_all: EndpointError
    """what it is if it is for every call"""


def error_of(answer: Answer, config: OpenAIModel, request: Request) -> ChimeraError:
    """An answer that is no success → its error, in words that quote neither prompt nor key."""
    said = error_body(answer.body)
    return judged(answer.status, said, f"HTTP {answer.status}", answer.headers, config, request)


def judged(
    status: int,
    said: ErrorBody,
    label: str,
    headers: Mapping[str, str],
    config: OpenAIModel,
    request: Request,
) -> ChimeraError:
    """A status and what came with it → the error that it is.

    Args:
        status: the answer's, or the one that its body holds.
        said: the body.
        label: the status in words.
        headers: the answer's.
        config: the model that was asked.
        request: what was asked.
    """
    verdict = verdict_of(status, said, request, config.extra_body)
    words = _said(said, verdict, config, request)
    if verdict in LASTING:
        where = f"{config.name} at {config.base_url or 'the provider'}"
        lasting = EndpointError(f"{where} {_lasting(verdict, status, said, label, config)}{words}")
        if not is_unexplained(status, said, request):
            return lasting
        return _doubtful(lasting, label, words, config)
    if verdict == "passing":
        error = TransientProviderError(f"{config.name}: {label}{words}")
        error.is_limited = is_limited(status, said)
        error.retry_after_s = _wait_s(headers, said, error.is_limited)
        return error
    if verdict == "prompt":
        return RefusalError(f"{config.name}: declined by the endpoint ({label}){words}")
    kind = ContextError if verdict == "too_long" else ProviderError
    return kind(f"{config.name}: {label}{words}")


def transport_error(exc: Exception, config: OpenAIModel) -> ChimeraError:
    """What kept an answer from coming → its error; a certificate that is not trusted is final."""
    where = f"{config.name} at {config.base_url or 'the provider'}"
    for cause in reversed(_causes(exc)):  # aiohttp's own is one as well, and has no message
        if isinstance(cause, ssl.SSLCertVerificationError):
            return EndpointError(
                f"{where} has a certificate that is not trusted here ({cause.verify_message}): "
                "check base_url, or name a file with the authority's certificate in the "
                "environment variable SSL_CERT_FILE"
            )
        if isinstance(cause, ssl.SSLError) and cause.reason == "WRONG_VERSION_NUMBER":
            return EndpointError(f"{where} does not speak TLS: check whether base_url is http://")
        if isinstance(cause, ClientHttpProxyError) and cause.status in _REFUSING_PROXY:
            return EndpointError(f"{where} {_proxy_refusal(cause.status)}")
        if isinstance(cause, ClientProxyConnectionError):
            return TransientProviderError(
                f"{config.name}: the proxy that the environment names cannot be reached "
                f"({kind_of(exc)})"
            )
    is_timeout = any("Timeout" in type(cause).__name__ for cause in _causes(exc))
    what = "timed out" if is_timeout else "the connection failed"
    return TransientProviderError(f"{config.name}: {what} ({kind_of(exc)})")


def is_format_refused(answer: Answer, request: Request, structured: str) -> bool:
    """Whether the way in which fields were asked for may be why an answer is an error.

    A 400 or 422 may, whatever it says, unless that tells another reason and does not name the way;
    one of a few other statuses, if it says so.
    """
    if request.schema is None or structured == "none":
        return False
    said = error_body(answer.body)
    if answer.status in (400, 422):
        return names_format(said) or verdict_of(answer.status, said, request) == "other"
    return answer.status in _ALSO_OF_FORMATS and refuses_format(said)


def kind_of(exc: BaseException) -> str:
    """An error → what its first cause is called; of a timeout, what timed out."""
    kinds = [type(cause).__name__ for cause in _causes(exc)]
    timeouts = [kind for kind in kinds if "Timeout" in kind]
    return next((kind for kind in reversed(timeouts) if kind != "TimeoutError"), kinds[-1])


def _causes(exc: BaseException) -> list[BaseException]:
    """An error → itself and what it came from."""
    causes = [exc]
    while (cause := causes[-1].__cause__) is not None and len(causes) < 10:
        causes.append(cause)
    return causes


def _proxy_refusal(status: int) -> str:
    asks = "asks for a user and a password: give them" if status == 407 else "refuses: check it"
    return (
        f"is reached through a proxy that {asks} in the environment variable that names the proxy "
        f"(HTTP {status})"
    )


def _wait_in(said: ErrorBody) -> float | None:
    """An error → the seconds after which it says to come again; None if it does not say."""
    found = _WAIT.search(said.marks)
    return None if found is None else duration_s(found[1] or f"{found[2]}{found[3]}")


def _wait_s(headers: Mapping[str, str], said: ErrorBody, is_limited: bool) -> float | None:
    """An answer → the seconds until another attempt, by its headers or words; None if neither."""
    ends = [window_s(headers.get(name)) for name in WINDOWS if is_limited]
    waits = (retry_after_s(headers), _wait_in(said), *ends)
    return next((wait_s for wait_s in waits if wait_s is not None), None)


def _doubtful(of_all: EndpointError, label: str, words: str, config: OpenAIModel) -> DoubtfulError:
    """What a refusal is if it is for every call → the same, with the doubt that it is."""
    error = DoubtfulError(
        f"{config.name}: refused without a clear reason ({label}): a firewall or the endpoint "
        f"does not take what this call says, or no call at all{words}"
    )
    error.of_all = of_all
    return error


def _lasting(
    verdict: Verdict, status: int, said: ErrorBody, label: str, config: OpenAIModel
) -> str:
    """What a refusal for good means, and what to do."""
    names = " or ".join(config.variables)
    key = f"the key in {names}" if names else "calls without a key"
    if status == 407:
        return _proxy_refusal(status)
    if status < 400:
        return f"sends calls elsewhere ({label}): give the final address as base_url"
    if status == 403 and verdict == "key":
        return f"does not let {key} do this ({label}): check what the key may use"
    if verdict == "field":
        field = refused_field(status, said, Request((), None, 0), config.extra_body) or ""
        if is_value_refused(said):
            return f"does not take the value of {field}: {_switch(field, config)}, or change it"
        return f"does not take the field {field}: {_switch(field, config)}"
    if status == 402:
        return f"asks to be paid first ({label}): top up the account"
    meanings: dict[Verdict, str] = {
        "key": f"refuses {key} ({label}): check the key",
        "account": f"has no quota left for {key}: top up the account or raise its limit",
        "model": f"does not know this model, or is no chat endpoint ({label}): "
        "check name and base_url",
    }
    return meanings.get(verdict, f"refuses every call ({label})")


def _switch(field: str, config: OpenAIModel) -> str:
    """A field of the request → the setting of the model file that leaves it out."""
    if field in config.extra_body:
        return f"take {field} out of extra_body"
    return _SWITCHES.get(field, f"set sampling.{field}: null")


def _said(said: ErrorBody, verdict: Verdict, config: OpenAIModel, request: Request) -> str:
    """What the server said besides, if it may be shown."""
    code = shown(said.code[:CODE_CHARS], config, request)
    # A server may echo the key masked, or another one, when it says that it is wrong.
    said_words = masked(said.words, config) if verdict == "key" else said.words
    words = shown(said_words, config, request)
    if words and code and words != said.code:
        return f" [{code}: {words}]"
    return f" [{words or code}]" if words or code else ""
