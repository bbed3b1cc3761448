"""The Glue Data Catalog, as moto serves it."""

import os
import sys

import boto3

from process import free_port, start_server
from s3 import REGION


class Glue:
    def __init__(self, folder):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = start_server("moto", [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", self.port],
                                    os.environ, folder, self.port)
        self.client = boto3.client("glue", endpoint_url=self.url, region_name=REGION,
                                   aws_access_key_id="moto", aws_secret_access_key="asks-for-none")

    def databases(self):
        return [d["Name"] for d in self.client.get_databases()["DatabaseList"]]

    def tables(self, database):
        """{name: definition}"""
        pages = self.client.get_paginator("get_tables").paginate(DatabaseName=database)
        return {t["Name"]: t for page in pages for t in page["TableList"]}

    def partitions(self, database, table):
        """{(date, hour): location}"""
        pages = self.client.get_paginator("get_partitions").paginate(DatabaseName=database, TableName=table)
        found = [p for page in pages for p in page["Partitions"]]
        locations = {tuple(p["Values"]): p["StorageDescriptor"]["Location"] for p in found}
        assert len(locations) == len(found), f"{table} has a partition twice"
        return locations
