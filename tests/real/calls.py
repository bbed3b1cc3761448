"""The AWS calls that a program makes, as IAM sees them: a proxy that notes action, resource and condition of each."""

import json
import re
import threading
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

from relay import Relay
from s3 import REGION

ACCOUNT = "123456789012"


@dataclass(frozen=True)
class Call:
    """One right that was needed: on each of its resources. `context` is what conditions of a policy may ask for."""

    action: str
    resources: tuple
    context: tuple = ()

    def __str__(self):
        return f"{self.action} on {', '.join(self.resources)}"


def of_s3(method, target, headers, body):
    """What a request to S3 needs. https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html"""
    url = urlsplit(target)
    query = parse_qs(url.query, keep_blank_values=True)
    bucket, _, key = unquote(url.path).lstrip("/").partition("/")
    whole, one = f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/{key}"
    if not key:
        if method == "POST" and "delete" in query:
            return [Call("s3:DeleteObject", (f"{whole}/{key}",))
                    for key in re.findall(r"<Key>([^<]+)</Key>", body.decode())]
        for subresource, action in {"uploads": "s3:ListBucketMultipartUploads", "lifecycle": "s3:GetLifecycleConfiguration",
                                    "location": "s3:GetBucketLocation", "versioning": "s3:GetBucketVersioning"}.items():
            if method == "GET" and subresource in query:
                return [Call(action, (whole,))]
        if method == "HEAD" or method == "GET" and query.get("list-type") == ["2"]:
            return [Call("s3:ListBucket", (whole,), (("s3:prefix", query.get("prefix", [""])[0]),))]
    elif method in ("GET", "HEAD"):
        return [Call("s3:ListMultipartUploadParts" if "uploadId" in query else "s3:GetObject", (one,))]
    elif method == "DELETE":
        return [Call("s3:AbortMultipartUpload" if "uploadId" in query else "s3:DeleteObject", (one,))]
    elif method == "PUT" and "x-amz-copy-source" in headers:
        source = unquote(headers["x-amz-copy-source"]).lstrip("/")
        return [Call("s3:GetObject", (f"arn:aws:s3:::{source}",)), Call("s3:PutObject", (one,))]
    elif method == "PUT" or method == "POST" and ("uploads" in query or "uploadId" in query):
        context = (("s3:if-none-match", headers["If-None-Match"]),) if "If-None-Match" in headers else ()
        return [Call("s3:PutObject", (one,), context)]
    raise AssertionError(f"a call to S3 that is not known here: {method} {target}")


def of_glue(headers, body):
    """What a request to Glue needs: the right on the table, its database, and the catalog.
    https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsglue.html"""
    action, asked = headers["X-Amz-Target"].split(".")[1], json.loads(body)
    own = f"arn:aws:glue:{REGION}:{ACCOUNT}"
    database = asked.get("DatabaseName") or asked.get("DatabaseInput", {}).get("Name") or asked["Name"]
    resources = [f"{own}:catalog", f"{own}:database/{database}"]
    if "DatabaseName" in asked:
        table = asked.get("TableName") or asked.get("TableInput", {}).get("Name") or asked["Name"]
        resources.append(f"{own}:table/{database}/{table}")
    return [Call(f"glue:{action}", tuple(resources))]


class Recorder(Relay):
    """Passes everything on, and keeps what it needed."""

    def __init__(self, upstream):
        self.calls, self._lock = set(), threading.Lock()
        super().__init__(upstream)

    def answer(self, request):
        body = request.body()
        of = of_glue(request.headers, body) if "X-Amz-Target" in request.headers else of_s3(
            request.command, request.path, request.headers, body)
        with self._lock:
            self.calls.update(of)
        answer = self.forward(request, body)
        if answer:
            request.reply(*answer)
        else:
            request.close_connection = True
