"""Measures what a page of Synapse's lists costs by the number of accounts: `python -m benchmarks.studies.audit_pages 100000 1000000`.

A real Synapse on PostgreSQL, or on SQLite with --sqlite. The rows are written into its database: an account, its profile, a
device and an address each, since Synapse joins them for every page; and an upload of the admin for every tenth.
"""

import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import httpx
import typer

from dev.processes import free_port
from dev.servers.postgres import Postgres
from dev.servers.synapse import ADMIN_ID, SERVER_NAME, Synapse
from dev.toolchain import postgres as tool

PAGES = (1_000, 5_000, 10_000)
ACCOUNTS = "user_id=%40nova-&deactivated=true&locked=true&guests=false&order_by=creation_ts&dir=f"
SECONDS = 600.0

ROWS = """
CREATE {temporary} TABLE new_users (n BIGINT, id TEXT);
{fill}
INSERT INTO users (name, creation_ts, admin, is_guest, deactivated, shadow_banned, approved, locked, suspended)
  SELECT '@nova-' || id || ':{server}', 1700000000 + n / 10, 0, 0, 0, {no}, {yes}, {no}, {no} FROM new_users;
INSERT INTO profiles (user_id, full_user_id, displayname, avatar_url)
  SELECT 'nova-' || id, '@nova-' || id || ':{server}', 'Ada Lovelace', 'mxc://{server}/aaaaaaaaaaaaaaaaaaaaaaaa' FROM new_users;
INSERT INTO devices (user_id, device_id, last_seen)
  SELECT '@nova-' || id || ':{server}', 'DEVICE', 1700000000000 FROM new_users;
INSERT INTO user_ips (user_id, access_token, ip, user_agent, last_seen, device_id)
  SELECT '@nova-' || id || ':{server}', 'x', '127.0.0.1', 'x', 1700000000000, 'DEVICE' FROM new_users;
INSERT INTO local_media_repository (media_id, media_type, media_length, created_ts, upload_name, user_id)
  SELECT substr(replace(id, '-', ''), 1, 24), 'image/png', 1000, 1700000000000 + n, 'nova-' || id, '{admin}'
  FROM new_users WHERE n % 10 = 0;
DROP TABLE new_users;
"""


def write(folder: Path, server: Postgres | None, first: int, count: int) -> None:
    """Writes rows for `count` more accounts."""
    words = {"server": SERVER_NAME, "admin": ADMIN_ID}
    if server:
        fill = f"INSERT INTO new_users SELECT n, gen_random_uuid()::text FROM generate_series({first}, {first + count - 1}) n;"
        sql = ROWS.format(temporary="TEMPORARY", fill=fill, no="false", yes="true", **words) + "ANALYZE;"
        address = ["-h", "127.0.0.1", "-p", str(server.port), "-U", "synapse", "-d", "synapse"]
        subprocess.run([str(tool("psql")), *address, "-qv", "ON_ERROR_STOP=1"], input=sql, text=True, check=True)
        return
    import sqlite3  # noqa: PLC0415 - only with --sqlite

    database = sqlite3.connect(folder / "synapse" / "homeserver.db")
    ids = ((first + number, str(uuid.uuid4())) for number in range(count))
    database.execute("CREATE TEMPORARY TABLE made (n BIGINT, id TEXT)")
    database.executemany("INSERT INTO made VALUES (?, ?)", ids)
    database.executescript(
        ROWS.format(temporary="TEMPORARY", fill="INSERT INTO new_users SELECT * FROM made;", no="0", yes="1", **words)
    )
    database.execute("ANALYZE")
    database.close()


def seconds_of(synapse: Synapse, path: str) -> tuple[float, float]:
    """Asks once; returns seconds and megabytes of the answer."""
    began = time.monotonic()
    headers = {"Authorization": f"Bearer {synapse.token}"}
    answer = httpx.get(f"{synapse.url}{path}", headers=headers, timeout=SECONDS).raise_for_status()
    return time.monotonic() - began, len(answer.content) / 1e6


def measure(synapse: Synapse, accounts: int) -> None:
    uploads = f"/_synapse/admin/v1/users/{quote(ADMIN_ID)}/media?order_by=created_ts&dir=f"
    for what, path, rows in (
        ("accounts", f"/_synapse/admin/v2/users?{ACCOUNTS}", accounts),
        ("uploads", uploads, accounts // 10),
    ):
        for size in PAGES:
            taken = [seconds_of(synapse, f"{path}&from={start}&limit={size}") for start in (0, rows // 2, rows - size)]
            mean = sum(seconds for seconds, _ in taken) / len(taken)
            parts = ", ".join(f"{seconds:.2f}" for seconds, _ in taken)
            print(f"{rows:>9} {what}, page of {size:>6}: first, middle, last {parts} s; {taken[0][1]:.1f} MB; "
                  f"all {rows / size * mean / 60:.1f} min", flush=True)  # fmt: skip


def main(
    counts: Annotated[list[int], typer.Argument(help="Numbers of accounts, rising.")],
    sqlite: Annotated[bool, typer.Option("--sqlite", help="Synapse on SQLite.")] = False,
) -> None:
    """Prints the cost of a page at each number of accounts."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = None if sqlite else Postgres(folder, free_port())
        synapse = Synapse(folder, free_port(), server)
        try:
            if server:
                server.start()
            synapse.start()
            there = 0
            for count in counts:
                synapse.stop()
                write(folder, server, there, count - there)
                synapse.start()
                there = count
                measure(synapse, count)
        finally:
            synapse.stop()
            if server:
                server.remove()


if __name__ == "__main__":
    typer.run(main)
