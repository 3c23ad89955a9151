"""Many new rows at once, by PostgreSQL's COPY: several times as fast as statements that list their values."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import connection, models
from django.db.models.fields import NOT_PROVIDED


def insert(rows: Sequence[models.Model]) -> None:
    """Stores new rows of one model and gives them ids, in order. A column that the database fills is left to it."""
    if not rows:
        return
    meta = rows[0]._meta
    fields = [one for one in meta.concrete_fields if not one.primary_key and one.db_default is NOT_PROVIDED]
    columns = ", ".join(connection.ops.quote_name(one.column) for one in (meta.pk, *fields))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT nextval(pg_get_serial_sequence(%s, %s)) FROM generate_series(1, %s)",
            [meta.db_table, meta.pk.column, len(rows)],
        )
        for row, (pk,) in zip(rows, cursor.fetchall(), strict=True):
            row.pk = pk
        with cursor.copy(f"COPY {connection.ops.quote_name(meta.db_table)} ({columns}) FROM STDIN") as copy:
            for row in rows:
                values = [one.get_db_prep_save(one.pre_save(row, add=True), connection) for one in fields]
                copy.write_row([row.pk, *values])
    for row in rows:
        row._state.adding, row._state.db = False, connection.alias
