"""Ways to a server, in this process: one that notes what is asked, a proxy, and one over TLS.

Each is opened inside an event loop, and closed with the block.
"""

import asyncio
import base64
import ssl
import subprocess
from asyncio import StreamReader, StreamWriter
from pathlib import Path
from typing import NamedTuple, Self
from urllib.parse import urlsplit

from aiohttp import ClientSession, web

HOST = "127.0.0.1"


class Asked(NamedTuple):
    """One request as it came."""

    method: str
    path: str
    """with the query"""
    headers: dict[str, str]
    """names in lower case"""


class Noting:
    """A way on which every request is noted, and passed on."""

    def __init__(self, url: str) -> None:
        """A server's base_url."""
        self._url = url.removesuffix("/v1")
        self.files_at = ""
        """another base_url, to which who wants a file's content is sent"""
        self.asked: list[Asked] = []

    async def __aenter__(self) -> str:
        self._session = ClientSession()
        self._runner = web.AppRunner(web.Application(client_max_size=1 << 30))
        self._runner.app.router.add_route("*", "/{path:.*}", self._pass_on)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, 0).start()
        return f"http://{HOST}:{self._runner.addresses[0][1]}/v1"

    async def __aexit__(self, *exc: object) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _pass_on(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.asked.append(Asked(request.method, request.path_qs, headers))
        if self.files_at and request.path.endswith("/content"):
            moved = {"Location": f"{self.files_at}{request.path.removeprefix('/v1')}?signed=1"}
            return web.Response(status=302, headers=moved)
        kept = {
            name: headers[name] for name in ("content-type", "authorization") if name in headers
        }
        url, content = f"{self._url}{request.path_qs}", await request.read()
        async with self._session.request(request.method, url, data=content, headers=kept) as answer:
            return web.Response(
                status=answer.status, body=await answer.read(), content_type=answer.content_type
            )


class Relay:
    """What listens, and carries bytes to a port on this machine."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.port, self._target, self._tls = 0, port, tls

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, HOST, 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        await self._join(reader, writer)

    async def _join(self, reader: StreamReader, writer: StreamWriter, head: str = "") -> None:
        """Carries bytes both ways; with a head of HTTP, which is sent first, for one answer."""
        upper_reader, upper_writer = await asyncio.open_connection(HOST, self._target)
        upper_writer.write(head.encode("latin-1"))
        sending = asyncio.create_task(_carry(reader, upper_writer))
        if head:
            answered = await upper_reader.readuntil(b"\r\n\r\n")
            writer.write(answered[:-2] + b"Connection: close\r\n\r\n")
        await _carry(upper_reader, writer)
        await sending


class Proxy(Relay):
    """A proxy for HTTP: whatever name is asked for, it leads to one port on this machine."""

    def __init__(self, port: int, credentials: str = "", refuses: int = 0) -> None:
        """A port; `credentials` that it asks for; the status with which it refuses everybody."""
        super().__init__(port)
        self._wanted = "Basic " + base64.b64encode(credentials.encode()).decode()
        self._asks, self._refuses = bool(credentials), refuses
        self.lines: list[str] = []
        """the first line of each request"""
        self.heads: list[str] = []

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, _, rest = head.partition("\r\n")
        self.lines.append(line)
        self.heads.append(head)
        status = self._refuses
        if self._asks and f"proxy-authorization: {self._wanted}".lower() not in head.lower():
            status = 407
        if status:
            writer.write(f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode())
            writer.close()
            return
        method, target, version = line.split()
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            await self._join(reader, writer)
            return
        path = urlsplit(target)._replace(scheme="", netloc="").geturl()
        begun = f"{method} {path} {version}\r\nConnection: close\r\n{rest}"
        await self._join(reader, writer, begun)


class Socks(Relay):
    """A SOCKS5 proxy: whatever name is asked for, it leads to one port on this machine."""

    def __init__(self, port: int, credentials: str = "", reply: int = 0) -> None:
        """A port; `credentials` that it asks for; what it replies, 0 for a connection."""
        super().__init__(port)
        self._credentials, self._reply = credentials, reply
        self.targets: list[str] = []

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        await reader.readexactly((await reader.readexactly(2))[1])  # the ways that it offers
        writer.write(b"\x05\x02" if self._credentials else b"\x05\x00")
        if self._credentials:
            await reader.readexactly(1)
            told = [await reader.readexactly((await reader.readexactly(1))[0]) for _ in range(2)]
            is_right = b":".join(told).decode() == self._credentials
            writer.write(b"\x01\x00" if is_right else b"\x01\x01")
        kind = (await reader.readexactly(4))[3]
        size = 4 if kind == 1 else (await reader.readexactly(1))[0]
        address = await reader.readexactly(size)
        port = int.from_bytes(await reader.readexactly(2))
        host = ".".join(map(str, address)) if kind == 1 else address.decode()
        self.targets.append(f"{host}:{port}")
        writer.write(bytes([5, self._reply, 0, 1, 0, 0, 0, 0, 0, 0]))
        if self._reply:
            writer.close()
            return
        await self._join(reader, writer)


async def _carry(reader: StreamReader, writer: StreamWriter) -> None:
    try:
        while block := await reader.read(1 << 16):
            writer.write(block)
            await writer.drain()
    except OSError:
        pass  # the other side has gone
    finally:
        writer.close()


def certificate_in(folder: Path, name: str = "localhost") -> tuple[Path, ssl.SSLContext]:
    """A folder → a certificate's file, signed by itself, and what a server needs to show it."""
    file, key = folder / "authority.pem", folder / "key.pem"
    said = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    words = ["openssl", *said.split(), "-subj", f"/CN={name}"]
    words += ["-addext", f"subjectAltName=DNS:{name}"]
    words += ["-keyout", str(key), "-out", str(file)]
    subprocess.run(words, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, key)
    return file, context
