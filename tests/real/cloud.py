"""An AWS account, as moto serves it: what Terraform applies, and the store and the catalog that a host then uses."""

import os
import sys
from pathlib import Path

import boto3
from botocore.config import Config

from process import free_port, start_server
from s3 import REGION

KEYS = {"AWS_ACCESS_KEY_ID": "made-up", "AWS_SECRET_ACCESS_KEY": "made-up"}


class Cloud:
    def __init__(self, folder, hosts):
        """`hosts` is how many tasks a service is said to have as soon as it is made."""
        self.port, self.cached = free_port(), folder / "objects"
        self.url = f"http://127.0.0.1:{self.port}"
        kept = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        self.process = start_server("moto", [sys.executable, Path(__file__).with_name("moto_aws.py"), self.port],
                                    {**kept, "MOTO_ECS_SERVICE_RUNNING": str(hosts)}, folder, self.port)
        self.s3, self.glue, self.logs = self.client("s3"), self.client("glue"), self.client("logs")

    def client(self, service):
        return boto3.client(service, endpoint_url=self.url, region_name=REGION, aws_access_key_id="made-up",
                            aws_secret_access_key="made-up", config=Config(s3={"addressing_style": "path"}))

    def keys(self, url):
        """What lies at s3://bucket/prefix."""
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [o["Key"] for page in pages for o in page.get("Contents", [])]

    def partitions(self, database, table):
        """{(date, hour): location}"""
        pages = self.glue.get_paginator("get_partitions").paginate(DatabaseName=database, TableName=table)
        return {tuple(p["Values"]): p["StorageDescriptor"]["Location"] for page in pages for p in page["Partitions"]}


class CloudBucket:
    """A zone in a bucket that is there already; DuckDB reads copies of its objects, none of which ever changes."""

    def __init__(self, cloud, name):
        self.cloud, self.name, self.url = cloud, name, f"s3://{name}"

    def keys(self):
        return self.cloud.keys(self.url)

    def path(self, key):
        path = self.cloud.cached / self.name / key
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            self.cloud.s3.download_file(self.name, key, str(path))
        return path

    def unfinished(self):
        return [u["Key"] for u in self.cloud.s3.list_multipart_uploads(Bucket=self.name).get("Uploads", [])]
