"""How an endpoint is reached, by calls and by batches: headers, query, proxies, certificates."""

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from batch_runs import BATCH, RETRY, Memory, ask_all, requests_of
from stub_server import StubServer
from stub_ways import Asked, Noting, Proxy, Relay, Socks, certificate_in

from chimera_ray.backends import build_model, check_model
from chimera_ray.backends.gate import Gate, in_process
from chimera_ray.backends.halt import Halt
from chimera_ray.backends.limiter import Limiter
from chimera_ray.errors import (
    ChimeraError,
    ConfigError,
    EndpointError,
    TransientProviderError,
)
from chimera_ray.llm import Reply
from chimera_ray.model_config import OpenAIModel

pytestmark = pytest.mark.process
KEY, SECRET = "key-planted-0123456789", "hunter2-planted-987654"
CREDENTIALS = "me:proxy-planted-5555"
ELSEWHERE = "http://elsewhere.invalid:9/v1"
SDK_VARIABLES = {
    "OPENAI_API_KEY": "key-of-somebody-else",
    "OPENAI_ADMIN_KEY": "admin-key-of-somebody-else",
    "OPENAI_BASE_URL": ELSEWHERE,
    "OPENAI_API_BASE": ELSEWHERE,
    "OPENAI_ORG_ID": "org-planted",
    "OPENAI_PROJECT_ID": "proj-planted",
    "OPENAI_CUSTOM_HEADERS": "X-Planted: planted\nHost: elsewhere.invalid\nContent-Type: x/planted",
    "OPENAI_API_TYPE": "azure",
    "OPENAI_API_VERSION": "planted",
}
both = pytest.mark.parametrize("batch", [None, BATCH], ids=["calls", "batches"])


@pytest.fixture(scope="module")
def stub() -> Iterator[StubServer]:
    with StubServer() as server:
        yield server


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, stub: StubServer) -> None:
    stub.reset()
    monkeypatch.setenv("STUB_KEY", KEY)
    monkeypatch.setenv("STUB_SECRET", SECRET)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


def _config(url: str, **changes: Any) -> OpenAIModel:
    fields = {"name": "simulated-drafter", "base_url": url, "retry": RETRY, **changes}
    return OpenAIModel.model_validate({"backend": "openai", "api_key_env": "STUB_KEY", **fields})


async def _asked(config: OpenAIModel, count: int = 1) -> list[Any]:
    """A configuration → what came of so many calls."""
    gate = Gate(in_process(Limiter(config.limits, 0.0), asyncio.get_running_loop().time), "test")
    memory = Memory()
    model = build_model(config, lambda _: gate, Halt(), 8, lambda _: memory)
    try:
        return await ask_all(model, requests_of(count))
    finally:
        await model.close()
        await gate.close()


def _noted(stub: StubServer, **changes: Any) -> list[Asked]:
    """Two calls that are answered → the requests that they took."""

    async def run() -> list[Asked]:
        noting = Noting(stub.url)
        async with noting as url:
            replies = await _asked(_config(url, **changes), 2)
        assert all(isinstance(reply, Reply) for reply in replies), replies
        return noting.asked

    return asyncio.run(run())


def _error_of(config: OpenAIModel) -> ChimeraError:
    return _discreet(asyncio.run(_failed(config)))


async def _failed(config: OpenAIModel) -> ChimeraError:
    try:
        (error,) = await _asked(config)
    except ChimeraError as exc:  # the model could not be made
        error = exc
    assert isinstance(error, ChimeraError)
    return error


def _discreet(error: ChimeraError) -> ChimeraError:
    """Holds an error, and whatever would be logged with it, to one line without a secret."""
    chain: BaseException | None = error
    while chain is not None:
        said = f"{chain} {chain!r}"
        assert not [
            secret for secret in (KEY, SECRET, *CREDENTIALS.split(":")[1:]) if secret in said
        ]
        chain = chain.__cause__ or (None if chain.__suppress_context__ else chain.__context__)
    assert "\n" not in str(error)
    return error


# ---- headers and query ------------------------------------------------------------------------


@both
def test_key_is_a_bearer_unless_another_header_is_named(
    stub: StubServer, batch: dict[str, Any] | None
) -> None:
    for asked in _noted(stub, batch=batch):
        assert asked.headers["authorization"] == f"Bearer {KEY}"
    for asked in _noted(stub, batch=batch, api_key_header="api-key"):
        assert asked.headers["api-key"] == KEY
        assert "authorization" not in asked.headers
    for asked in _noted(stub, batch=batch, api_key_env=None):
        assert "authorization" not in asked.headers


@both
def test_headers_and_query_are_in_every_request(
    stub: StubServer, batch: dict[str, Any] | None
) -> None:
    headers = {
        "X-Team": "maths & logic",
        "X-Number": 3,
        "X-Secret": {"env": "STUB_SECRET"},
        "User-Agent": "mine",
        "OpenAI-Project": {"value": "proj_1"},
    }
    query = {"api-version": "2025-04-01-preview", "a": "b c&d=+", "n": 2}
    for asked in _noted(stub, batch=batch, headers=headers, query=query):
        told = {name: asked.headers[name.lower()] for name in headers}
        assert told == {
            "X-Team": "maths & logic",
            "X-Number": "3",
            "X-Secret": SECRET,
            "User-Agent": "mine",
            "OpenAI-Project": "proj_1",
        }
        for said in ("api-version=2025-04-01-preview", "a=b+c%26d%3D%2B", "n=2"):
            assert said in asked.path.partition("?")[2].split("&")


def test_key_may_be_in_the_query(stub: StubServer) -> None:
    changes = {"api_key_env": None, "query": {"key": {"env": "STUB_SECRET"}}}
    assert {asked.path.partition("?")[2] for asked in _noted(stub, **changes)} == {f"key={SECRET}"}


@both
def test_variables_of_the_sdk_change_nothing(
    stub: StubServer, batch: dict[str, Any] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SDK_VARIABLES.items():
        monkeypatch.setenv(name, value)
    for asked in _noted(stub, batch=batch):
        assert asked.headers["authorization"] == f"Bearer {KEY}"
        assert asked.headers["host"].startswith("127.0.0.1:")
        said = f"{asked}".lower()
        assert "planted" not in said.replace(KEY, "")
        assert "somebody-else" not in said
        assert "openai-" not in said
    assert all(
        "authorization" not in a.headers for a in _noted(stub, batch=batch, api_key_env=None)
    )


def test_provider_is_asked_where_nothing_else_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", ELSEWHERE)

    async def run() -> list[str]:
        async with Proxy(9, refuses=403) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
            await _failed(_config("http://x").model_copy(update={"base_url": None}))
        return proxy.lines

    assert asyncio.run(run()) == ["CONNECT api.openai.com:443 HTTP/1.1"]


@pytest.mark.parametrize(
    "changes",
    [
        {"api_key_env": "UNSET_VARIABLE"},
        {"headers": {"X-Secret": {"env": "UNSET_VARIABLE"}}},
        {"query": {"key": {"env": "UNSET_VARIABLE"}}},
    ],
    ids=["key", "header", "query"],
)
@both
def test_variable_that_is_not_set_is_named_before_anything_is_asked(
    stub: StubServer, batch: dict[str, Any] | None, changes: dict[str, Any]
) -> None:
    config = _config(stub.url, batch=batch, **changes)
    with pytest.raises(ConfigError, match="UNSET_VARIABLE"):
        check_model(config, is_here=True)
    check_model(config, is_here=False)
    error = _error_of(config)
    assert isinstance(error, EndpointError)
    assert "UNSET_VARIABLE is not set where the calls are made" in str(error)
    assert stub.counts()["finished"] == 0


@pytest.mark.parametrize("proxy", [f"u:{SECRET}@@:x", f"ftp://u:{SECRET}@host"])
def test_proxy_that_is_none_is_told_before_anything_is_asked(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)
    monkeypatch.delenv("http_proxy", raising=False)
    config = _config("http://host.test/v1", api_key_env=None)
    with pytest.raises(ConfigError, match="HTTP_PROXY holds no address of a proxy") as caught:
        check_model(config, is_here=True)
    assert SECRET not in str(caught.value)
    check_model(config, is_here=False)


@pytest.mark.parametrize("value", ["two\nlines", "caf\u00e9"])
def test_key_that_cannot_be_sent_is_told_before_anything_is_asked(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OWN_KEY", f"{SECRET}{value}")
    config = _config("http://host.test/v1", api_key_env="OWN_KEY")
    with pytest.raises(ConfigError, match="OWN_KEY has characters that cannot be sent") as caught:
        check_model(config, is_here=True)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("value", [f"{SECRET}\r\nX-Evil: 1", f"{SECRET}é", f"{SECRET}\x7f"])
def test_variable_that_cannot_be_sent_is_told_without_its_value(
    stub: StubServer, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUB_SECRET", value)
    error = _error_of(_config(stub.url, headers={"X-Secret": {"env": "STUB_SECRET"}}))
    assert isinstance(error, EndpointError)
    assert "STUB_SECRET" in str(error)


def test_refused_key_is_told_by_the_names_of_all_its_variables(stub: StubServer) -> None:
    stub.set(keys=("another",))
    try:
        config = _config(stub.url, headers={"X-Secret": {"env": "STUB_SECRET"}})
        assert "the key in STUB_KEY or STUB_SECRET" in str(_error_of(config))
    finally:
        stub.set(keys=None)


def test_file_kept_by_another_host_is_fetched_there_without_headers(stub: StubServer) -> None:
    async def run() -> list[Asked]:
        bucket = Noting(stub.url)
        endpoint = Noting(stub.url)
        async with bucket as far, endpoint as url:
            endpoint.files_at = far.replace("127.0.0.1", "localhost")
            headers = {"X-Secret": {"env": "STUB_SECRET"}}
            (reply,) = await _asked(_config(url, batch=BATCH, headers=headers))
        assert isinstance(reply, Reply), reply
        return bucket.asked

    (asked,) = asyncio.run(run())
    assert asked.method == "GET"
    assert asked.path.endswith("/content?signed=1")
    assert not {"authorization", "x-secret"} & {*asked.headers}


# ---- proxies ----------------------------------------------------------------------------------


Env = dict[str, str]


def _by_proxy(
    stub: StubServer,
    proxy: Proxy | Socks,
    environ: Env,
    url: str,
    batch: dict[str, Any] | None = None,
    **changes: Any,
) -> Any:
    """What comes of one call to a URL, in an environment where the proxy's port is added."""

    async def run() -> Any:
        async with proxy:
            with pytest.MonkeyPatch.context() as patch:
                for name, value in environ.items():
                    patch.setenv(name, f"{value}{proxy.port}")
                try:
                    (answer,) = await _asked(_config(url, batch=batch, **changes))
                except ChimeraError as exc:
                    return exc
                return answer

    return asyncio.run(run())


@both
@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def test_endpoint_is_reached_through_a_proxy(
    stub: StubServer, name: str, batch: dict[str, Any] | None
) -> None:
    proxy = Proxy(stub.port)
    url = "http://endpoint.invalid/v1"
    answer = _by_proxy(stub, proxy, {name: "127.0.0.1:"}, url, batch)
    assert isinstance(answer, Reply), answer
    assert proxy.lines
    assert all(" http://endpoint.invalid/v1/" in line for line in proxy.lines)


@pytest.mark.parametrize("user", [CREDENTIALS, "me:p%40ss%3A%2F%23"], ids=["plain", "encoded"])
def test_proxy_that_asks_for_credentials_has_them_and_nobody_else(
    stub: StubServer, user: str
) -> None:
    wanted = CREDENTIALS if user == CREDENTIALS else "me:p@ss:/#"
    proxy = Proxy(stub.port, wanted)
    url = "http://endpoint.invalid/v1"
    answer = _by_proxy(stub, proxy, {"HTTP_PROXY": f"http://{user}@127.0.0.1:"}, url)
    assert isinstance(answer, Reply), answer


@both
@pytest.mark.parametrize(
    ("scheme", "status"),
    [("http", 407), ("https", 407), ("https", 403)],
    ids=["forwarding", "tunnel", "tunnel_forbidden"],
)
def test_proxy_that_refuses_ends_the_run_with_a_line_that_shows_no_secret(
    stub: StubServer, status: int, scheme: str, batch: dict[str, Any] | None
) -> None:
    proxy = Proxy(stub.port, refuses=status)
    url = f"{scheme}://endpoint.invalid/v1"
    name = f"{scheme}_proxy".upper()
    environ = {name: f"http://{CREDENTIALS}@127.0.0.1:"}
    answer = _by_proxy(stub, proxy, environ, url, batch)
    assert isinstance(answer, EndpointError), answer
    assert f"(HTTP {status})" in str(_discreet(answer))
    assert "proxy" in str(answer)


def test_proxy_that_is_not_there_is_named(stub: StubServer) -> None:
    config = _config("http://endpoint.invalid/v1", retry={**RETRY, "deadline_s": 0.01})

    async def run() -> ChimeraError:
        async with Relay(stub.port) as relay:
            port = relay.port
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HTTP_PROXY", f"http://{CREDENTIALS}@127.0.0.1:{port}")
            return await _failed(config)

    assert "the proxy that the environment names cannot be reached" in str(
        _discreet(asyncio.run(run()))
    )


@both
def test_malformed_proxy_ends_the_run_with_its_variables_name(
    stub: StubServer, batch: dict[str, Any] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"ftp://{CREDENTIALS}@proxy.test:3128")
    error = _error_of(_config(stub.url, batch=batch))
    assert isinstance(error, EndpointError)
    assert "HTTP_PROXY" in str(error)


def test_endpoint_that_no_proxy_names_is_reached_directly(
    stub: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid:3128")
    monkeypatch.setenv("NO_PROXY", f"127.0.0.0/8,host.test:{stub.port}")
    assert _noted(stub)


# ---- SOCKS ------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("name", ["ALL_PROXY", "http_proxy"])
def test_socks_without_its_package_says_what_to_install(
    stub: StubServer,
    batch: dict[str, Any] | None,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp_socks", None)
    monkeypatch.setenv(name, f"socks5://{CREDENTIALS}@127.0.0.1:1080")
    error = _error_of(_config(stub.url, batch=batch))
    assert isinstance(error, EndpointError)
    assert "pip install '.[socks]'" in str(error)


@both
@pytest.mark.parametrize("credentials", ["", CREDENTIALS], ids=["open", "with_credentials"])
@pytest.mark.parametrize(
    ("scheme", "host"), [("socks5h", "endpoint.invalid"), ("socks5", "127.0.0.1")]
)
def test_endpoint_is_reached_through_socks(
    stub: StubServer, scheme: str, host: str, credentials: str, batch: dict[str, Any] | None
) -> None:
    pytest.importorskip("aiohttp_socks")
    proxy = Socks(stub.port, credentials)
    user = f"{credentials}@" if credentials else ""
    environ = {"ALL_PROXY": f"{scheme}://{user}127.0.0.1:"}
    answer = _by_proxy(stub, proxy, environ, f"http://{host}:8123/v1", batch)
    assert isinstance(answer, Reply), answer
    assert {*proxy.targets} == {f"{host}:8123"}


@pytest.mark.parametrize("credentials", ["", "other:password"], ids=["refused", "wrong_password"])
def test_socks_that_refuses_is_a_failed_connection(stub: StubServer, credentials: str) -> None:
    pytest.importorskip("aiohttp_socks")
    proxy = Socks(stub.port, credentials, reply=2)
    environ = {"ALL_PROXY": f"socks5h://{CREDENTIALS}@127.0.0.1:"}
    url = "http://endpoint.invalid/v1"
    answer = _by_proxy(stub, proxy, environ, url, None, retry={**RETRY, "deadline_s": 0.01})
    assert isinstance(answer, TransientProviderError), answer
    _discreet(answer)


# ---- certificates -----------------------------------------------------------------------------


needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes them")


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return certificate_in(tmp_path_factory.mktemp("tls"))


def _over_tls(stub: StubServer, tls: Any, environ: Env, **changes: Any) -> Any:
    """What comes of one call over TLS."""

    async def run() -> Any:
        async with Relay(stub.port, tls[1]) as relay:
            with pytest.MonkeyPatch.context() as patch:
                for name, value in environ.items():
                    patch.setenv(name, value)
                url = f"https://localhost:{relay.port}/v1"
                try:
                    (answer,) = await _asked(_config(url, **changes))
                except ChimeraError as exc:
                    answer = exc
                return answer

    return asyncio.run(run())


@needs_openssl
@both
def test_untrusted_certificate_ends_the_run_at_once(
    stub: StubServer, tls: Any, batch: dict[str, Any] | None
) -> None:
    answer = _over_tls(stub, tls, {}, batch=batch)
    assert isinstance(answer, EndpointError), answer
    assert "SSL_CERT_FILE" in str(_discreet(answer))
    assert stub.counts()["finished"] == 0


@needs_openssl
@both
def test_certificate_is_trusted_by_ssl_cert_file(
    stub: StubServer, tls: Any, batch: dict[str, Any] | None
) -> None:
    answer = _over_tls(stub, tls, {"SSL_CERT_FILE": str(tls[0])}, batch=batch)
    assert isinstance(answer, Reply), answer


@needs_openssl
def test_certificate_is_trusted_by_ssl_cert_dir(stub: StubServer, tls: Any, tmp_path: Path) -> None:
    shutil.copy(tls[0], tmp_path / "authority.pem")
    subprocess.run(["openssl", "rehash", str(tmp_path)], check=True)
    answer = _over_tls(stub, tls, {"SSL_CERT_DIR": str(tmp_path)})
    assert isinstance(answer, Reply), answer


@needs_openssl
def test_certificate_of_another_host_ends_the_run(stub: StubServer, tmp_path: Path) -> None:
    other = certificate_in(tmp_path, "other.test")
    answer = _over_tls(stub, other, {"SSL_CERT_FILE": str(other[0])})
    assert isinstance(answer, EndpointError), answer


@pytest.mark.parametrize("content", [None, "no certificate", ""], ids=["missing", "text", "empty"])
def test_ssl_cert_file_without_certificates_ends_the_run(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "authority.pem"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    error = _error_of(_config("https://endpoint.invalid/v1"))
    assert isinstance(error, EndpointError)
    assert "SSL_CERT_FILE" in str(error)


def test_ssl_cert_file_is_not_read_without_tls(
    stub: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    assert _noted(stub)


@needs_openssl
def test_tls_goes_through_a_tunnel_and_shows_the_proxy_no_key(stub: StubServer, tls: Any) -> None:
    async def run() -> tuple[Any, Proxy]:
        async with Relay(stub.port, tls[1]) as relay, Proxy(relay.port, CREDENTIALS) as proxy:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("SSL_CERT_FILE", str(tls[0]))
                patch.setenv("HTTPS_PROXY", f"http://{CREDENTIALS}@127.0.0.1:{proxy.port}")
                config = _config(
                    "https://localhost/v1", headers={"X-Secret": {"env": "STUB_SECRET"}}
                )
                (answer,) = await _asked(config)
        return answer, proxy

    answer, proxy = asyncio.run(run())
    assert isinstance(answer, Reply), answer
    assert proxy.lines == ["CONNECT localhost:443 HTTP/1.1"]
    assert KEY not in proxy.heads[0]
    assert SECRET not in proxy.heads[0]
