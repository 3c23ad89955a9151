"""What one worker of all does at a time: a lock of PostgreSQL's, held for as long as the transaction is open."""

from __future__ import annotations

from django.db import connection


def alone(lock: int) -> bool:
    """Whether this transaction, of all workers', does what `lock` stands for. Given back when it ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [lock])
        return cursor.fetchone()[0]
