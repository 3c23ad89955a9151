"""`manage.py export FILE --snapshot N | --study N --format FORMAT`: labels as a file for another tool."""

import sys
from dataclasses import fields
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError

from annotation import exporters
from annotation.errors import Conflict, Invalid
from annotation.exporters import Asked
from annotation.models import Snapshot, Study


class Command(BaseCommand):
    help = "Writes a snapshot, or a study as it stands, as a file. Refused where an item has no licence."

    def add_arguments(self, parser):
        formats = "; ".join(f"{name}: {one.label}" for name, one in exporters.FORMATS.items())
        parser.add_argument("file", help="Where to write; - is the standard output.")
        source = parser.add_mutually_exclusive_group(required=True)
        source.add_argument("--snapshot", type=int, help="The number of a snapshot.")
        source.add_argument("--study", type=int, help="The number of a study, to be exported as it stands.")
        parser.add_argument("--format", default="kibitz", choices=exporters.FORMATS, help=formats)
        for one in fields(Asked):
            if one.name != "format":
                parser.add_argument(f"--{one.name}", help="As in docs/exports.md.")

    def handle(self, *, file: str, snapshot: int | None, study: int | None, **rest):
        model, pk = (Snapshot, snapshot) if snapshot is not None else (Study, study)
        source = model.objects.filter(pk=pk).first()
        if source is None:
            raise CommandError(f"There is no {model.__name__.lower()} {pk}.")
        try:
            asked = exporters.read(rest)
            blocks = exporters.export(source, asked)
            if file == "-":
                for block in blocks:
                    sys.stdout.buffer.write(block)
                return
            size = write(Path(file), blocks)
        except Invalid as problem:
            raise CommandError(f"{problem.field or 'export'}: {problem}") from None
        except Conflict as problem:
            raise CommandError(str(problem)) from None
        self.stdout.write(f"{file}: {size:,} bytes.")


def write(path: Path, blocks) -> int:
    """Under its name only when it is whole."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as out:
            size = sum(out.write(block) for block in blocks)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return size
