"""An HTTP proxy before an object store that can fail in every way that a network or a service does, and that counts."""

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import urlsplit

Damage = Literal["lose", "truncate", "shorten", "flip", "stall", "trickle"]


@dataclass(frozen=True)
class Seen:
    method: str
    path: str
    query: str
    key_id: str
    is_create: bool

    @property
    def is_list(self) -> bool:
        return self.method == "GET" and ("list-type" in self.query or "prefix=" in self.query)


@dataclass(frozen=True)
class Refusal:
    status: int
    code: str

    @property
    def body(self) -> bytes:
        return f"<?xml version='1.0'?><Error><Code>{self.code}</Code><Message>injected</Message></Error>".encode()


Fault = Refusal | Damage | None


class FaultProxy:
    """Forwards requests; ``fault`` decides what becomes of each, by the request and how many came before it."""

    def __init__(self, target: str) -> None:
        self.fault: Callable[[Seen, int], Fault] = lambda seen, index: None
        self.seen: list[Seen] = []
        self.injected_count = 0
        self._target = urlsplit(target)
        self._lock = threading.Lock()
        self.is_closed = threading.Event()
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": self}))
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.is_closed.set()
        self._server.shutdown()
        self._server.hang_up()
        self._server.server_close()

    def first(self, count: int, fault: Fault, method: str = "GET") -> None:
        """Let that become of the next requests of a method, and of none after them."""
        left = [count]

        def decide(seen: Seen, index: int) -> Fault:
            if seen.method != method or not left[0]:
                return None
            left[0] -= 1
            return fault

        self.fault = decide

    def fault_of(self, seen: Seen) -> Fault:
        with self._lock:
            fault = self.fault(seen, len(self.seen))
            self.seen.append(seen)
            self.injected_count += fault is not None
        return fault

    def forward(self, method: str, path: str, headers: Any, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(str(self._target.hostname), self._target.port, timeout=60)
        with contextlib.closing(connection):
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                if name.lower() not in ("connection", "expect"):
                    connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            hop = ("connection", "transfer-encoding")
            return response.status, [one for one in response.getheaders() if one[0].lower() not in hop], response.read()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.clients: set[socket.socket] = set()

    def hang_up(self) -> None:
        for client in list(self.clients):
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        end = time.monotonic() + 5
        while self.clients and time.monotonic() < end:
            time.sleep(0.01)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that hang up are what is tested."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: FaultProxy

    def setup(self) -> None:
        super().setup()
        self.server.clients.add(self.connection)

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()
        self.server.clients.discard(self.connection)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def handle_method(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        authorization = self.headers.get("Authorization") or ""
        key_id = authorization.partition("Credential=")[2].partition("/")[0]
        seen = Seen(self.command, url.path, url.query, key_id, "If-None-Match" in self.headers)
        fault = self.proxy.fault_of(seen)
        if isinstance(fault, Refusal):
            self.answer(fault.status, [("Content-Length", str(len(fault.body)))], fault.body)
            return
        status, headers, content = self.proxy.forward(self.command, self.path, self.headers, body)
        if fault == "lose" or (fault == "stall" and not content):
            self.close_connection = True
            if fault == "stall":
                # Nothing to stop in the middle of: the answer itself does not come.
                self.proxy.is_closed.wait(60)
            return
        self.answer(status, *_damaged(headers, content, fault), fault)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_method  # noqa: N815

    def answer(self, status: int, headers: list[tuple[str, str]], content: bytes, fault: Fault = None) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        half = len(content) // 2
        if fault in ("truncate", "stall", "trickle"):
            self.close_connection = True
            self.wfile.write(content[:half])
            self.wfile.flush()
            for index in range(half, half + 600 if fault != "truncate" else half):
                if self.proxy.is_closed.wait(0.1):
                    return
                if fault == "trickle":
                    self.wfile.write(content[index : index + 1])
            return
        self.wfile.write(content)


def _damaged(headers: list[tuple[str, str]], content: bytes, fault: Fault) -> tuple[list[tuple[str, str]], bytes]:
    if fault == "flip":
        content = content[:-1] + bytes([content[-1] ^ 1])
    if fault == "shorten":
        content = content[: len(content) // 2]
        headers = [pair for pair in headers if pair[0].lower() != "content-length"]
        headers.append(("Content-Length", str(len(content))))
    return headers, content
