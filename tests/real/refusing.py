"""A service that refuses: throttled, broken, forbidden, at another time of day, or because keys have expired.

Unlike the faults of `proxy`, whatever is refused here never reaches the server, except when its answer is lost.
"""

import json
import threading
from collections import Counter
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from relay import Relay
from s3 import REGION

DROPPED, LOST = "dropped", "lost"  # the connection ends: before the request was passed on; after it was done
SKEW = timedelta(minutes=15)  # of clocks, that AWS allows
STATUS = {"SlowDown": (503, "Slow Down"), "InternalServiceException": (500, "Internal Server Error"),
          "RequestTimeTooSkewed": (403, "Forbidden")}
EXPIRED = {"xml": "ExpiredToken", "json": "ExpiredTokenException"}


class Refusing(Relay):
    """`kind` is how errors are written: xml (S3) or json (Glue). `desk` knows the keys that are good; none: all are."""

    def __init__(self, upstream, kind, desk=None):
        self.kind, self.desk = kind, desk
        self.ahead = timedelta(0)  # of its clock
        self.counts = Counter()  # of faults, and of (fault, action)
        self.asked = Counter()  # of actions, refused or not
        self._faults, self._lock = {}, threading.Lock()
        super().__init__(upstream)

    def refuse(self, fault, *actions):
        """From now on these actions are refused that way; all, if none is named. Others are answered."""
        self._faults = dict.fromkeys(actions or [None], fault)

    def passes(self):
        self._faults, self.ahead = {}, timedelta(0)

    def now(self):
        return datetime.now(timezone.utc) + self.ahead

    def answer(self, request):
        body = request.body()
        action = request.headers.get("X-Amz-Target", "").rsplit(".")[-1]
        fault = self._fault(request, action)
        with self._lock:
            self.asked[action] += 1
            if fault:
                self.counts[fault] += 1
                self.counts[fault, action] += 1
        if fault == DROPPED:
            return request.drop()
        if fault and fault != LOST:
            status, reason = STATUS.get(fault, (400, "Bad Request"))
            return request.reply(status, reason, [("Date", format_datetime(self.now(), usegmt=True))],
                                 self._written(fault, action))
        answer = self.forward(request, body)
        if fault == LOST or answer is None:
            return request.drop()
        status, reason, headers, said = answer
        headers = [(n, v) for n, v in headers if n.lower() != "date"]
        return request.reply(status, reason, [*headers, ("Date", format_datetime(self.now(), usegmt=True))], said)

    def forward(self, request, body):
        if self.desk:
            self._sign(request, body)
        return super().forward(request, body)

    def _sign(self, request, body):
        """The server knows no tokens: what was signed with a good one is signed anew without."""
        signed = ("authorization", "x-amz-security-token", "x-amz-date", "x-amz-content-sha256")
        headers = {name: value for name, value in request.headers.items() if name.lower() not in signed}
        again = AWSRequest(request.command, self.url + request.path, data=body, headers=headers)
        S3SigV4Auth(Credentials(*self.desk.key), "s3", REGION).add_auth(again)
        request.headers = again.headers

    def _fault(self, request, action):
        signed = request.headers.get("X-Amz-Date")
        if signed:
            signed = datetime.strptime(signed, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
            if abs(signed - self.now()) > SKEW:
                return "RequestTimeTooSkewed"
        if self.desk and not self.desk.good(request.headers.get("X-Amz-Security-Token")):
            return EXPIRED[self.kind]
        return self._faults.get(action, self._faults.get(None))

    def _written(self, code, action):
        message = f"refused by the test: {action}"
        if self.kind == "xml":
            return f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'.encode()
        return json.dumps({"__type": code, "Message": message}).encode()
