"""Stores the lines of an NDJSON file in a new SQLite file, in a table and indexes like those of another; prints the seconds."""

import os
import sqlite3
import sys
import time
import uuid

like, lines = sys.argv[1:]
source = sqlite3.connect(like)
(table, create), = source.execute(
    "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name LIKE 'collections_r%' AND sql LIKE '%seq INTEGER%'"
)
indexes = source.execute("SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL", (table,))
statements = [create, *(sql for (sql,) in indexes)]
source.close()

path = like + ".plain"
database = sqlite3.connect(path, isolation_level=None)
database.execute("PRAGMA journal_mode = WAL")
for statement in statements:
    database.execute(statement)
insert = f"INSERT INTO {table} (id, created_at, updated_at, version, data) VALUES (?, ?, ?, 1, ?)"
now = "2026-01-01T00:00:00.000000Z"
started = time.monotonic()
with open(lines) as file:
    batch = []
    for line in file:
        batch.append((str(uuid.UUID(int=(time.time_ns() << 64) | len(batch))), now, now, line.strip()))
        if len(batch) == 10_000:
            database.execute("BEGIN IMMEDIATE")
            database.executemany(insert, batch)
            database.execute("COMMIT")
            batch.clear()
    database.execute("BEGIN IMMEDIATE")
    database.executemany(insert, batch)
    database.execute("COMMIT")
database.close()
print(time.monotonic() - started)
os.remove(path)
