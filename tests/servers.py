"""A pytest plugin that gives the whole run a PostgreSQL of its own, before Django reads its settings.

Loaded by name (`-p tests.servers`) because settings are read before any conftest.py is. Where DATABASE_URL is set,
that server is used instead. The data goes with the run; fsync is off here alone, since nothing outlives it: neither
the database nor what this process and its forks write waits for the disk. A process that is killed loses nothing by
that, only a machine would.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
home = Path(tempfile.mkdtemp(prefix="kibitz-test-"))
home.chmod(0o755)  # PostgreSQL runs as another user where the tests run as root
os.environ["KIBITZ_HOME"] = str(home)
os.environ["BROKER_URL"] = "memory://"  # a test that needs the real one starts it
main_process = os.getpid()
os.fsync = os.fstat  # which refuses a file that is not open, too

if not os.environ.get("DATABASE_URL"):
    from webapp import embedded

    os.environ["DATABASE_URL"] = embedded.start_postgres()
    import psycopg

    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")


def clean_up() -> None:
    if os.getpid() == main_process:  # a forked child must not stop its parent's database
        from webapp import embedded

        embedded.stop_postgres()
        shutil.rmtree(home, ignore_errors=True)


atexit.register(clean_up)
