"""A small HTTP server for whoever watches the service.

`GET /metrics` is for Prometheus. `GET /healthz` says "ok", or answers 503 and says what is wrong: a thread hangs,
or a replica lags further behind than `max_lag` allows.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import TYPE_CHECKING, Any, Final

import structlog

from replicator.errors import ReplicatorError
from replicator.service.metrics import CONTENT_TYPE

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from replicator.config.values import ListenAddress
    from replicator.service.health import Health
    from replicator.service.metrics import Metrics

#: A client that sends or takes nothing for this long is let go.
_PATIENCE_SECONDS: Final = 10.0
_PLAIN_TEXT: Final = "text/plain; charset=utf-8"

_log = structlog.get_logger()


class MetricsServer:
    """Serves `metrics` on `address`, from entry into the `with` block to its end.

    Entry raises `ReplicatorError` if nothing can listen there.
    """

    def __init__(self, metrics: Metrics, health: Health, address: ListenAddress) -> None:
        self._metrics = metrics
        self._health = health
        self._address = address

    def __enter__(self) -> Self:
        try:
            family, _, _, _, place = socket.getaddrinfo(
                self._address.host, self._address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            self._server = _Server(self._metrics, self._health, family, place)
        except (OSError, UnicodeError) as error:  # a name may be none for the name service
            reason = error.strerror if isinstance(error, OSError) else error
            raise ReplicatorError(
                f"cannot serve metrics on {self._address}: {reason}",
                hint='set service.metrics to a free address of this host, or to "off"; or stop what listens there',
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics")
        self._thread.start()
        _log.info("metrics.listening", address=str(self._address))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingTCPServer):
    """Not an `HTTPServer`, which asks the name service for this host's name before it listens."""

    allow_reuse_address = True

    def __init__(
        self, metrics: Metrics, health: Health, family: socket.AddressFamily, place: tuple[Any, ...]
    ) -> None:
        self.address_family = family
        self.metrics = metrics
        self.health = health
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        super().__init__(place, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as inherited
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as inherited
        threading.current_thread().name = "metrics request"
        super().process_request_thread(request, client_address)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 - as inherited
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Break off what is under way, so that no client holds up the end of the service."""
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        super().server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002 - as inherited
        # A client that hangs up is no news.
        if not isinstance(sys.exception(), OSError):
            _log.exception("metrics.crashed")


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _PATIENCE_SECONDS
    server_version = "replicator"
    sys_version = ""

    def do_GET(self) -> None:
        match self.path.partition("?")[0]:
            case "/metrics":
                self._answer(HTTPStatus.OK, CONTENT_TYPE, self.server.metrics.render())
            case "/healthz":
                self._answer_health(self.server.health.problems())
            case _:
                self._answer(HTTPStatus.NOT_FOUND, _PLAIN_TEXT, b"there are /metrics and /healthz\n")

    def _answer_health(self, problems: list[str]) -> None:
        status = HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK
        self._answer(status, _PLAIN_TEXT, "\n".join(problems or ["ok"]).encode())

    def log_message(self, *_: object) -> None:
        """Scrapes are not worth a line."""

    def _answer(self, status: HTTPStatus, content_type: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
