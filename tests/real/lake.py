"""The lake, read by DuckDB: never by this project's own code."""

from collections import defaultdict
from pathlib import Path

import duckdb


class Bucket:
    """A zone on S3. Listed through S3, so only what a reader sees; its bytes come from the gateway's folder."""

    def __init__(self, s3, name):
        self.s3, self.name, self.url = s3, name, f"s3://{name}"
        s3.client.create_bucket(Bucket=name)

    def keys(self):
        return self.s3.keys(self.name)

    def path(self, key):
        return self.s3.root / self.name / key

    def unfinished(self):
        return self.s3.uploads(self.name)

    def forget(self, key):
        """Aborts an upload, as a lifecycle rule of the bucket would."""
        self.s3.abort(self.name, key)


class Folder:
    """A zone on local disk."""

    def __init__(self, path):
        self.root, self.url = path, path.as_uri()

    def keys(self):
        return [p.relative_to(self.root).as_posix() for p in self.root.rglob("*") if p.is_file()]

    def path(self, key):
        return self.root / key

    def unfinished(self):
        return [k for k in self.keys() if "/staging/" in f"/{k}"]

    def forget(self, key):
        """Removes a file that is not finished, as whoever tidies up would."""
        self.path(key).unlink()


class Lake:
    def __init__(self, raw, processed):
        self.raw, self.processed = raw, processed

    @property
    def zones(self):
        return self.raw, self.processed

    @staticmethod
    def within(folder):
        """In two fresh folders of that one."""
        zones = folder / "raw", folder / "processed"
        for zone in zones:
            zone.mkdir(parents=True)
        return Lake(*map(Folder, zones))

    def arguments(self):
        return ["--raw", self.raw.url, "--processed", self.processed.url]

    def files(self):
        """{table: {key: path}} of all that is not hidden, without the files without rows that views have."""
        tables = defaultdict(dict)
        for zone in self.zones:
            for key in zone.keys():
                if not key.startswith("_") and "/_gen/0/" not in key:
                    tables[key.split("/")[0]][key] = zone.path(key)
        return tables

    def open(self):
        """A DuckDB connection with a view for each table that has files; `filename` tells a row's file."""
        db = duckdb.connect()
        db.execute("set TimeZone = 'UTC'; set threads = 2")
        for table, files in self.files().items():
            paths = [str(p) for p in files.values()]
            db.sql(f"""from read_parquet({paths!r}, hive_partitioning = false, union_by_name = true,
                                         filename = true)""").create_view(table)
        return db

    def count(self, table):
        """Rows that a reader sees now; files that come and go meanwhile are the reader's to miss."""
        paths = [str(p) for p in self.files().get(table, {}).values()]
        if not paths:
            return 0
        return duckdb.sql(f"select count(*) from read_parquet({paths!r}, hive_partitioning = false)").fetchall()[0][0]

    def offsets(self, table, partition="kafka_partition", offset="kafka_offset"):
        """The (partition, offset) of each row, in no order."""
        if table not in self.files():
            return []
        return self.open().sql(f'select "{partition}", "{offset}" from {table}').fetchall()

    def rejected(self):
        """{(partition, offset): (reason, stage, value)}; an event is rejected once."""
        if "rejected_events" not in self.files():
            return {}
        rows = self.open().sql('select partition, "offset", reason, stage, value from rejected_events').fetchall()
        found = {(p, o): rest for p, o, *rest in rows}
        assert len(found) == len(rows), "an event was rejected twice"
        return found


def folders(files):
    """The (date, hour) of keys like `table/date=2025-12-02/hour=09/x.parquet`."""
    return {tuple(part.split("=")[1] for part in Path(key).parts[1:3]) for key in files}
