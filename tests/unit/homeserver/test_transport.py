"""What the transport says of a connection that gives no answer, on real sockets."""

import asyncio
import contextlib
import gzip
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import quote

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from function.homeserver.transport import Address, HttpAnswer, HttpClient, NoAnswerError, SingleTry
from function.operations import Operation

pytestmark = pytest.mark.anyio

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
TIMEOUT = httpx.Timeout(5, connect=1, pool=None)


class Server:
    """Answers each request with the next of some bytes; "" closes the connection without an answer."""

    def __init__(self, *answers: bytes) -> None:
        self.answers, self.requests = list(answers), 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while self.answers:
                head = await reader.readuntil(b"\r\n\r\n")
                length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                await reader.readexactly(int(length[0].partition(b":")[2]) if length else 0)
                self.requests += 1
                answer = self.answers.pop(0)
                writer.write(answer)
                await writer.drain()
                if answer != GOOD:
                    break


@asynccontextmanager
async def client_of(handler: Handler) -> AsyncIterator[HttpClient]:
    handling: list[asyncio.Task[None]] = []

    async def handled(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handling.append(asyncio.current_task())  # type: ignore[arg-type]
        try:
            await handler(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    server = await asyncio.start_server(handled, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with HttpClient(SingleTry(), f"http://{host}:{port}", "tests") as http:
        yield http
    server.close()
    await asyncio.wait(handling)  # the client has closed its connections


async def put(http: HttpClient, timeout: httpx.Timeout = TIMEOUT) -> HttpAnswer:
    return await http.request(Operation.SET_AVATAR, "PUT", "/profile/@user", b"{}", {}, timeout)


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"no HTTP at all\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\nbroken header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
    ],
    ids=["cut", "not HTTP", "no status", "bad header", "body cut", "bad chunk", "not gzip"],
)  # fmt: skip
async def test_a_request_without_a_whole_answer_may_have_been_received(answer: bytes) -> None:
    """The failure names its kind and holds no address."""
    server = Server(answer)
    async with client_of(server) as http:
        with pytest.raises(NoAnswerError) as caught:
            await put(http)
    assert (caught.value.sent, caught.value.late, server.requests) == (True, False, 1)
    assert caught.value.what.isalnum()


async def test_a_write_whose_kept_connection_is_closed_is_not_sent_again() -> None:
    """aiohttp would by itself, with no regard for a deadline; the caller decides."""
    server = Server(GOOD, b"", GOOD)
    async with client_of(server) as http:
        assert await put(http) == (200, b"{}")
        with pytest.raises(NoAnswerError) as caught:
            await put(http)
        assert (caught.value.sent, server.requests) == (True, 2)
        assert await put(http) == (200, b"{}")


async def test_an_answer_that_a_proxy_compressed_is_read() -> None:
    packed = gzip.compress(b'{"name": "x"}')
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    async with client_of(Server(head + packed)) as http:
        assert await put(http) == (200, b'{"name": "x"}')


@pytest.mark.parametrize(
    "base", ["http://synapse:8008", "https://matrix.example.org", "https://[::1]:8448/behind/a/prefix", "http://user@h"]
)
@given(user=st.text())
@example(user="ann:example.org")
def test_an_address_is_what_httpx_parses(base: str, user: str) -> None:
    path = f"/_synapse/admin/v2/users/%40{quote(user.encode('utf-8', 'replace'), safe='')}"
    address, parsed = Address(httpx.URL(base), path), httpx.URL(base + path)
    assert (str(address), address.raw_path, address.netloc) == (str(parsed), parsed.raw_path, parsed.netloc)
    assert httpx.Request("GET", address).headers == httpx.Request("GET", parsed).headers


async def test_a_refused_connection_sent_nothing() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        async with HttpClient(SingleTry(), url, "tests") as http:
            with pytest.raises(NoAnswerError) as caught:
                await put(http)
    assert (caught.value.sent, caught.value.late) == (False, False)


async def test_an_unknown_host_sent_nothing() -> None:
    async with HttpClient(SingleTry(), "http://synapse.invalid", "tests") as http:
        with pytest.raises(NoAnswerError) as caught:
            await put(http)
    assert caught.value.sent is False


@pytest.mark.parametrize("trickling", [False, True], ids=["silent", "a byte at a time"])
async def test_the_time_is_that_of_the_whole_exchange(trickling: bool) -> None:
    """A server that sends a byte now and then does not hold a place in flight without end."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not trickling:
            await reader.read()  # until the client gives up
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.01)

    async with client_of(handler) as http:
        async with asyncio.timeout(5):
            with pytest.raises(NoAnswerError) as caught:
                await put(http, httpx.Timeout(0.2, connect=1, pool=None))
        assert (caught.value.sent, caught.value.late) == (True, True)


async def test_a_large_image_arrives_whole_and_with_its_length() -> None:
    """In pieces, so that other requests run while it is written; Synapse refuses an upload of unknown length."""
    content = bytes(range(256)) * 32_768
    received = bytearray()
    heads: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        received.extend(await reader.readexactly(len(content)))
        writer.write(GOOD)
        await writer.drain()

    async with client_of(handler) as http:
        answer = await http.request(
            Operation.UPLOAD, "POST", "/upload", content, {"Content-Type": "image/png"}, TIMEOUT
        )
    assert answer.status == 200
    assert received == content
    assert b"content-length: 8388608" in heads[0].lower()
    assert b"chunked" not in heads[0].lower()
