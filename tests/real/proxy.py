"""Trouble on the way to S3: a proxy on 127.0.0.1 that passes requests on, spoils a share of them, or falls silent.

The Host header goes through as it came, so that signatures stay valid.
"""

import itertools
import random
import re
import threading
from collections import Counter
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from process import free_port

# What happens to a request that is spoilt: each in turn.
ERRORS = (
    "refused",         # 503; the store never saw the request
    "lost reply",      # done, but 500 is answered
    "dropped",         # the connection ends; the store never saw the request
    "dropped reply",   # done, but the connection ends without an answer
    "error in a 200",  # not done, and the error stands inside a 200, as S3 may answer when an upload is completed
)
HELD, LATE = "held", "late"  # never answered; of these: done after the silence, when nobody waits for it any more
COMPLETION, RECORD, OTHER = "completion", "record", "other"  # of an upload; of the commit log


def error(code, message):
    return f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'.encode()


class Proxy:
    def __init__(self, upstream, seed):
        self.upstream, self.port = upstream, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.counts = Counter()  # of what was done with requests: passed, ERRORS, HELD, LATE
        self.records = Counter()  # the same of those alone that write a commit record
        self._random, self._share, self._only = random.Random(seed), 0.0, None
        self._kinds = {COMPLETION: itertools.cycle(reversed(ERRORS)), RECORD: itertools.cycle(ERRORS[1:-1]),
                       OTHER: itertools.cycle(ERRORS[:-1])}
        self._lock, self._speaks = threading.Lock(), threading.Event()
        self._speaks.set()
        proxy = self

        class Handler(_Handler):
            def answer(self):
                proxy._answer(self)

        self._server = _Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()

    def passes(self):
        """From now on every request is answered as the store answers it. What was held is dropped or done late."""
        self._share = 0.0
        self._speaks.set()

    def errors(self, share):
        """From now on that share of the requests is spoilt."""
        self._share = share
        self._speaks.set()

    def silent(self, only=None):
        """From now on requests are accepted and never answered; those alone that write records, if told so."""
        self._share, self._only = 0.0, only
        self._speaks.clear()

    def close(self):
        self._speaks.set()
        self._server.shutdown()
        self._server.server_close()

    def _count(self, what, kind):
        with self._lock:
            self.counts[what] += 1
            self.records[what] += kind == RECORD
            return self.counts[what]

    def _fault(self, kind):
        """What to do to this request; none: nothing."""
        with self._lock:
            return next(self._kinds[kind]) if self._random.random() < self._share else None

    def _answer(self, request):
        kind = OTHER
        if request.command == "POST" and "uploadId=" in request.path:
            kind = COMPLETION
        elif request.command == "PUT" and re.search(r"/log/\d{12}\.json$", request.path):
            kind = RECORD
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        if not self._speaks.is_set() and self._only in (None, kind):
            held = self._count(HELD, kind)
            self._speaks.wait()
            if held % 2 or kind == RECORD:
                self._forward(request, body)
                self._count(LATE, kind)
            request.close_connection = True
            return
        fault = self._fault(kind)
        answer = self._forward(request, body) if fault in (None, "lost reply", "dropped reply") else None
        if fault in ("dropped", "dropped reply"):
            request.close_connection = True
        elif fault == "refused":
            request.reply(503, "Slow Down", [], error("SlowDown", "Please reduce your request rate."))
        elif fault == "lost reply":
            request.reply(500, "Internal Server Error", [], error("InternalError", "We encountered an internal error."))
        elif fault == "error in a 200":
            request.reply(200, "OK", [], error("InternalError", "We encountered an internal error."))
        elif answer:
            request.reply(*answer)
        else:
            request.close_connection = True
        self._count(fault or "passed", kind)

    def _forward(self, request, body):
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

    def do_any(self):
        self.answer()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_any

    def log_message(self, *_):
        """Says nothing: what was done is counted."""
