"""S3: versitygw over a folder. Keys are made up for each run."""

import os
import secrets

import boto3
from botocore.config import Config

from process import free_port, start_server

REGION = "eu-west-1"


class S3:
    def __init__(self, folder, binary):
        self.root, self.port = folder / "buckets", free_port()
        self.root.mkdir(parents=True)
        self.url = f"http://127.0.0.1:{self.port}"
        self.access_key, self.secret_key = "TEST" + secrets.token_hex(8).upper(), secrets.token_hex(20)
        self.process = start_server(
            "versitygw",
            [binary, "--port", f"127.0.0.1:{self.port}", "--region", REGION, "--quiet", "posix", self.root],
            {**os.environ, "ROOT_ACCESS_KEY": self.access_key, "ROOT_SECRET_KEY": self.secret_key},
            folder / "server", self.port)
        self.client = boto3.client(
            "s3", endpoint_url=self.url, region_name=REGION, aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key, config=Config(s3={"addressing_style": "path"}))

    def keys(self, bucket):
        """What a reader can see."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return [o["Key"] for page in pages for o in page.get("Contents", [])]

    def uploads(self, bucket):
        """Multipart uploads that were begun and neither completed nor aborted."""
        return [u["Key"] for u in self.client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])]

    def abort(self, bucket, key):
        """Aborts the multipart uploads to that key."""
        for u in self.client.list_multipart_uploads(Bucket=bucket).get("Uploads", []):
            if u["Key"] == key:
                self.client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=u["UploadId"])
