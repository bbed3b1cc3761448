"""Where containers get their keys: on 127.0.0.1, as ECS hands them out, but for seconds.

All are the server's one key, whose signatures are good; a token tells them apart.
"""

import json
import secrets
import threading
from datetime import datetime, timedelta, timezone

from relay import Relay


class Desk(Relay):
    def __init__(self, access_key, secret_key, lifetime):
        self.key, self.lifetime = (access_key, secret_key), timedelta(seconds=lifetime)
        self.looked, self._good, self._lock = 0, {}, threading.Lock()
        super().__init__(None)

    @property
    def environment(self):
        """What a host needs to know of it; keys of its own it has none."""
        return {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self.url}/keys",
                "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}

    @property
    def handed_out(self):
        return len(self._good)

    def withdraw(self):
        """Nothing that was handed out so far is good any more, whatever was said of its expiry."""
        with self._lock:
            self._good = dict.fromkeys(self._good, datetime.min.replace(tzinfo=timezone.utc))

    def good(self, token):
        with self._lock:
            return token in self._good and datetime.now(timezone.utc) < self._good[token]

    def answer(self, request):
        """The same keys until half their time is over, as those do that hand them out in earnest."""
        now = datetime.now(timezone.utc)
        with self._lock:
            self.looked += 1
            young = [t for t, until in self._good.items() if until - now > self.lifetime / 2]
            token = young[-1] if young else secrets.token_hex(16)
            until = self._good.setdefault(token, now + self.lifetime)
        access_key, secret_key = self.key
        said = {"AccessKeyId": access_key, "SecretAccessKey": secret_key, "Token": token,
                "Expiration": until.strftime("%Y-%m-%dT%H:%M:%SZ")}
        request.reply(200, "OK", [("Content-Type", "application/json")], json.dumps(said).encode())
