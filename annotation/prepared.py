"""SQL that the database plans once for each connection, for the few statements that every label waits for.

Django's own cursors write values into a statement, so that each is planned anew, and planning a long one takes longer
than running it. These send the values apart.
"""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.db.backends.postgresql.base import ServerBindingCursor


def rows(statement: str, values: Any) -> list[tuple]:
    """Runs a statement, in the transaction that is open if there is one, and returns its rows."""
    connection.ensure_connection()
    with connection.wrap_database_errors:
        cursor = ServerBindingCursor(connection.connection)
    wrap = connection.make_debug_cursor if connection.queries_logged else connection.make_cursor
    with wrap(cursor) as wrapped:
        wrapped.execute(statement, values)
        return wrapped.fetchall()
