"""Trouble on the way to S3: a proxy on 127.0.0.1 that passes requests on, spoils a share of them, or falls silent."""

import itertools
import random
import re
import threading
from collections import Counter

from relay import Relay

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


class Proxy(Relay):
    def __init__(self, upstream, seed):
        self.counts = Counter()  # of what was done with requests: passed, ERRORS, HELD, LATE
        self.records = Counter()  # the same of those alone that write a commit record
        self._random, self._share, self._only = random.Random(seed), 0.0, None
        self._kinds = {COMPLETION: itertools.cycle(reversed(ERRORS)), RECORD: itertools.cycle(ERRORS[1:-1]),
                       OTHER: itertools.cycle(ERRORS[:-1])}
        self._lock, self._speaks = threading.Lock(), threading.Event()
        self._speaks.set()
        super().__init__(upstream)

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
        super().close()

    def _count(self, what, kind):
        with self._lock:
            self.counts[what] += 1
            self.records[what] += kind == RECORD
            return self.counts[what]

    def _fault(self, kind):
        """What to do to this request; none: nothing."""
        with self._lock:
            return next(self._kinds[kind]) if self._random.random() < self._share else None

    def answer(self, request):
        kind = OTHER
        if request.command == "POST" and "uploadId=" in request.path:
            kind = COMPLETION
        elif request.command == "PUT" and re.search(r"/log/\d{12}\.json$", request.path):
            kind = RECORD
        body = request.body()
        if not self._speaks.is_set() and self._only in (None, kind):
            held = self._count(HELD, kind)
            self._speaks.wait()
            if held % 2 or kind == RECORD:
                self.forward(request, body)
                self._count(LATE, kind)
            request.close_connection = True
            return
        fault = self._fault(kind)
        answer = self.forward(request, body) if fault in (None, "lost reply", "dropped reply") else None
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
