"""What stands between a host and a server: it passes requests on, and those who derive from it spoil some.

The Host header goes through as it came, so that signatures stay valid.
"""

import threading
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from process import free_port


class Relay:
    def __init__(self, upstream):
        self.upstream, self.port = upstream, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._server = _Server(("127.0.0.1", self.port), type("Handler", (_Handler,), {"relay": self}))
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request):
        """Answers one request, in a thread of its own."""
        answer = self.forward(request, request.body())
        request.reply(*answer) if answer else request.drop()

    def forward(self, request, body):
        """The store's answer: status, reason, headers, body; none if it gave none."""
        connection = HTTPConnection("127.0.0.1", self.upstream, timeout=60)
        try:
            connection.putrequest(request.command, request.path, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            return response.status, response.reason, response.getheaders(), response.read()
        except (OSError, HTTPException):
            return None
        finally:
            connection.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_):
        """A client that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    relay = None
    disable_nagle_algorithm = True

    def reply(self, status, reason, headers, body):
        """Answers in one piece. The length that HEAD tells of is not that of a body."""
        kept = [(n, v) for n, v in headers if n.lower() not in ("connection", "keep-alive", "transfer-encoding")]
        if self.command != "HEAD" and status not in (204, 304):
            kept = [(n, v) for n, v in kept if n.lower() != "content-length"] + [("Content-Length", len(body))]
        lines = "".join(f"{name}: {value}\r\n" for name, value in kept)
        head = f"HTTP/1.1 {status} {reason}\r\n{lines}\r\n".encode("latin-1")
        try:
            self.wfile.write(head if self.command == "HEAD" else head + body)
        except OSError:  # it did not wait for the answer
            self.close_connection = True

    def drop(self):
        """Ends the connection without an answer."""
        self.close_connection = True

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def do_any(self):
        self.relay.answer(self)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_any

    def log_message(self, *_):
        """Says nothing: what was done is counted."""
