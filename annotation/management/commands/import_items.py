"""`manage.py import_items FILE --study NAME --format FORMAT`: a file into a study, which is created if need be."""

from contextlib import suppress
from pathlib import Path

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError

from annotation import import_jobs
from annotation.errors import Conflict, Invalid
from annotation.formats import FORMATS
from annotation.importers import COUNTED
from annotation.interfaces.registry import INTERFACES
from annotation.models import ImportJob, Study
from annotation.services import create_study


class Command(BaseCommand):
    help = "Imports a file into a study: all of it, or nothing and a list of what is wrong."

    def add_arguments(self, parser):
        formats = "; ".join(f"{name}: {words}" for name, (words, _) in FORMATS.items())
        parser.add_argument("file", type=Path, help="The file; gzip is unpacked.")
        parser.add_argument("--study", required=True, help="The number or the name of the study.")
        parser.add_argument("--format", required=True, choices=FORMATS, help=formats)
        parser.add_argument(
            "--licence", default="", help="Under which terms the file came; goes into the cards."
        )
        parser.add_argument("--owner", help="Who owns the study, where it is new.")
        parser.add_argument(
            "--interfaces", default="pairwise,edit", help=f"What a new study asks: {', '.join(INTERFACES)}."
        )
        parser.add_argument(
            "--overlap", type=int, default=1, help="How many people answer each task of a new study."
        )

    def handle(self, *, file: Path, study: str, format: str, licence: str, **rest):
        if not file.is_file():
            raise CommandError(f"There is no file {file}.")
        target = self.find(study) or self.create(study, **rest)
        with file.open("rb") as content:
            job = import_jobs.keep(
                study=target,
                by=target.created_by,
                chunks=iter(lambda: content.read(2**20), b""),
                filename=file.name,
                format=format,
                licence=licence,
            )
        self.bring(job)
        if job.errors:
            listed = "\n".join(f"  {describe(one)}" for one in job.errors)
            raise CommandError(f"Nothing was imported from {file}:\n{listed}")
        came = ", ".join(
            f"{job.counts[name]:,} {name}" for name in ("items", *COUNTED.values()) if name in job.counts
        )
        self.stdout.write(f"Study {target.pk} ({target.name}): {came}.")

    def bring(self, job: ImportJob) -> None:
        """Imports here and now; a worker goes on where this process is killed, and Ctrl-C takes everything back."""
        try:
            import_jobs.run(job.pk)
        except KeyboardInterrupt:
            with suppress(Conflict):  # it was just finished
                import_jobs.cancel(job)
                import_jobs.run(job.pk)
            raise CommandError(f"Stopped; import {job.pk} left nothing.") from None
        job.refresh_from_db()

    def find(self, study: str) -> Study | None:
        if study.isdecimal():
            return Study.objects.filter(pk=study).first()
        named = list(Study.objects.filter(name=study)[:2])
        if len(named) == 2:
            raise CommandError(f"Several studies are called {study!r}. Give the number of one.")
        return named[0] if named else None

    def create(self, name: str, *, owner: str | None, interfaces: str, overlap: int, **_) -> Study:
        if name.isdecimal():
            raise CommandError(f"There is no study {name}.")
        user = get_user_model().objects.filter(username=owner).first()
        if user is None:
            missing = f"nobody here is called {owner!r}" if owner else "a new one needs an owner"
            raise CommandError(f"There is no study {name!r} yet, and {missing}. Say --owner USERNAME.")
        try:
            return create_study(name=name, owner=user, interfaces=interfaces.split(","), overlap=overlap)
        except Invalid as problem:
            raise CommandError(str(problem)) from None


def describe(error: dict) -> str:
    where = f"line {error['line']}, " if error["line"] else ""
    field = f"field {error['field']}: " if error["field"] else ""
    return f"{where}{field}{error['message']} {error['cure']}"
