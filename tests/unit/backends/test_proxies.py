"""Which proxy a URL is reached through: malformed addresses first, then who needs none."""

import pytest

from chimera_ray.backends.proxies import proxy_for
from chimera_ray.errors import EndpointError

PROXY = "http://proxy.test:3128"
HTTP, HTTPS = "http://api.host.test:8000/v1", "https://api.host.test/v1"

MALFORMED = {
    "no_host": "http://",
    "no_host_but_a_port": "http://:3128",
    "port_is_a_word": "http://hunter2:port",
    "port_too_high": "http://hunter2:99999",
    "port_0": "http://hunter2:0",
    "no_slashes": "http:/hunter2:3128",
    "no_colon": "http//hunter2:3128",
    "other_scheme": "ftp://hunter2:3128",
    "web_socket": "ws://hunter2:3128",
    "path": "http://proxy.test:3128/hunter2",
    "query": "http://proxy.test:3128?hunter2",
    "blank": "http://proxy test:3128",
    "two": "http://a.test:1,http://hunter2:2",
    "bracket": "http://[::1:3128",
    "no_address": "http://[hunter2]:3128",
    "hash_in_a_password": "http://me:hunter#2@proxy.test:3128",
    "slash_in_a_password": "http://me:hunter2/x@proxy.test:3128",
    "line_break": "http://proxy.test:31\n28",
    "two_ports": "proxy.test:3128:hunter2",
}


@pytest.mark.parametrize("said", MALFORMED.values(), ids=MALFORMED)
@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
def test_malformed_proxy_is_told_by_the_variables_name_alone(name: str, said: str) -> None:
    with pytest.raises(EndpointError) as raised:
        proxy_for(HTTP, {name: said})
    assert name in str(raised.value)
    assert "hunter" not in str(raised.value)
    assert "\n" not in str(raised.value)


CHOSEN: dict[str, tuple[str, dict[str, str], str | None]] = {
    "none": (HTTP, {}, None),
    "http": (HTTP, {"HTTP_PROXY": PROXY}, PROXY),
    "small_letters": (HTTP, {"http_proxy": PROXY}, PROXY),
    "small_letters_first": (HTTP, {"http_proxy": PROXY, "HTTP_PROXY": "http://other:1"}, PROXY),
    "small_and_empty": (HTTP, {"http_proxy": "", "HTTP_PROXY": PROXY}, None),
    "of_the_other_scheme": (HTTP, {"HTTPS_PROXY": PROXY}, None),
    "https": (HTTPS, {"HTTPS_PROXY": PROXY}, PROXY),
    "https_not_by_http": (HTTPS, {"HTTP_PROXY": PROXY}, None),
    "all": (HTTPS, {"ALL_PROXY": PROXY}, PROXY),
    "all_small": (HTTP, {"all_proxy": PROXY}, PROXY),
    "own_before_all": (HTTP, {"ALL_PROXY": "http://other:1", "HTTP_PROXY": PROXY}, PROXY),
    "empty": (HTTP, {"HTTP_PROXY": " ", "ALL_PROXY": PROXY}, PROXY),
    "without_a_scheme": (HTTP, {"HTTP_PROXY": "proxy.test:3128"}, PROXY),
    "blanks_around": (HTTP, {"HTTP_PROXY": f" {PROXY}\n"}, PROXY),
    "without_a_port": (HTTP, {"HTTP_PROXY": "http://proxy.test"}, "http://proxy.test"),
    "slash": (HTTP, {"HTTP_PROXY": f"{PROXY}/"}, f"{PROXY}/"),
    "user": (HTTP, {"HTTP_PROXY": "http://me:p%40ss@p:1"}, "http://me:p%40ss@p:1"),
    "user_without_a_scheme": (HTTP, {"HTTP_PROXY": "me:pass@p:1"}, "http://me:pass@p:1"),
    "at_in_a_password": (HTTP, {"HTTP_PROXY": "http://me:p@ss@p:1"}, "http://me:p@ss@p:1"),
    "ipv6": (HTTP, {"HTTP_PROXY": "http://[::1]:3128"}, "http://[::1]:3128"),
    "socks": (HTTPS, {"ALL_PROXY": "socks5h://p:1080"}, "socks5h://p:1080"),
    "tls_to_the_proxy": (HTTPS, {"HTTPS_PROXY": "https://p:443"}, "https://p:443"),
    "malformed_but_not_needed": (HTTP, {"HTTP_PROXY": "ftp://x", "NO_PROXY": "*"}, None),
    "malformed_of_the_other_scheme": (HTTP, {"HTTPS_PROXY": "ftp://x"}, None),
    "no_proxy_small_letters_first": (
        HTTP,
        {"HTTP_PROXY": PROXY, "no_proxy": "other.test", "NO_PROXY": "*"},
        PROXY,
    ),
}


@pytest.mark.parametrize(("url", "environ", "proxy"), CHOSEN.values(), ids=CHOSEN)
def test_proxy_is_chosen_by_the_scheme(
    url: str, environ: dict[str, str], proxy: str | None
) -> None:
    assert proxy_for(url, environ) == proxy


DIRECT = [
    ("*", "http://host.test/v1"),
    ("*:8000", "http://host.test:8000/v1"),
    ("host.test", "http://host.test/v1"),
    ("HOST.test", "http://host.Test/v1"),
    ("host.test.", "http://host.test/v1"),
    ("host.test", "http://host.test./v1"),
    ("host.test", "http://api.host.test/v1"),
    (".host.test", "http://api.host.test/v1"),
    (".host.test", "http://host.test/v1"),
    ("*.host.test", "http://api.host.test/v1"),
    ("host.test:8000", "http://host.test:8000/v1"),
    ("host.test:443", "https://host.test/v1"),
    ("host.test:80", "http://host.test/v1"),
    (".host.test:8000", "http://api.host.test:8000/v1"),
    ("other.test, host.test", "http://host.test/v1"),
    ("other.test host.test", "http://host.test/v1"),
    (",,host.test,", "http://host.test/v1"),
    ("localhost", "http://localhost:8000/v1"),
    ("localhost", "http://127.0.0.1:8000/v1"),
    ("localhost", "http://[::1]:8000/v1"),
    ("127.0.0.1", "http://127.0.0.1:8000/v1"),
    ("127.0.0.1:8000", "http://127.0.0.1:8000/v1"),
    ("10.0.0.0/8", "http://10.1.2.3:8000/v1"),
    ("10.1.2.3/8", "http://10.1.2.3:8000/v1"),
    ("192.168.0.0/16,10.0.0.0/8", "http://10.1.2.3/v1"),
    ("::1", "http://[::1]:8000/v1"),
    ("[::1]", "http://[::1]:8000/v1"),
    ("[::1]:8000", "http://[::1]:8000/v1"),
    ("0:0:0:0:0:0:0:1", "http://[::1]:8000/v1"),
    ("fd00::/8", "http://[fd12:3456::1]/v1"),
    ("[fd00::]/8", "http://[fd12:3456::1]/v1"),
    ("10.0.0.0/8", "http://[::ffff:10.1.2.3]/v1"),
]
PROXIED = [
    ("", "http://host.test/v1"),
    ("other.test", "http://host.test/v1"),
    ("ost.test", "http://host.test/v1"),
    ("api.host.test", "http://host.test/v1"),
    ("host.test:8000", "http://host.test:8001/v1"),
    ("host.test:8000", "http://host.test/v1"),
    ("host.test:80", "https://host.test/v1"),
    ("*:8000", "http://host.test:8001/v1"),
    ("localhost", "http://localhost.host.test/v1"),
    ("localhost", "http://10.1.2.3/v1"),
    ("10.0.0.0/8", "http://11.1.2.3/v1"),
    ("10.0.0.0/8", "http://10.host.test/v1"),
    ("10.0.0.0/99", "http://10.0.0.1/v1"),
    ("1.2.3", "http://10.1.2.3/v1"),
    ("2.3", "http://10.1.2.3/v1"),
    ("::1", "http://[::2]/v1"),
    ("[::1]:8000", "http://[::1]:8001/v1"),
    ("fd00::/8", "http://10.1.2.3/v1"),
    (".", "http://host.test/v1"),
    (":8000", "http://host.test:8000/v1"),
    ("host.test:" + "9" * 5_000, "http://host.test/v1"),
    ("[", "http://host.test/v1"),
]


@pytest.mark.parametrize(("no_proxy", "url"), DIRECT)
@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_host_that_no_proxy_names_is_reached_directly(name: str, no_proxy: str, url: str) -> None:
    assert proxy_for(url, {"ALL_PROXY": PROXY, name: no_proxy}) is None


@pytest.mark.parametrize(("no_proxy", "url"), PROXIED)
def test_host_that_no_proxy_does_not_name_is_not(no_proxy: str, url: str) -> None:
    assert proxy_for(url, {"ALL_PROXY": PROXY, "NO_PROXY": no_proxy}) == PROXY
