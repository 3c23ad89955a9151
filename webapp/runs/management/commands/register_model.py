"""Brings a model's files into a study: `manage.py register_model 3 trainers/demo/policy --kind policy --name first`."""

from pathlib import Path

from django.core.management.base import BaseCommand, CommandError

from annotation.errors import Invalid
from annotation.models import Study
from webapp.runs.services import register_model


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser) -> None:
        parser.add_argument("study", type=int, help="the study's number, as in its address")
        parser.add_argument(
            "path", type=Path, help="a directory with kibitz.json or a Hugging Face config.json"
        )
        parser.add_argument("--kind", choices=["policy", "reward_model"], default="policy")
        parser.add_argument("--name", help="what to call it; default: the directory's name")

    def handle(self, *, study: int, path: Path, kind: str, name: str | None, **options) -> None:
        found = Study.objects.filter(pk=study).first()
        if found is None:
            raise CommandError(f"There is no study {study}.")
        try:
            made = register_model(study=found, path=path, kind=kind, name=name or path.resolve().name)
        except Invalid as problem:
            raise CommandError(str(problem)) from problem
        self.stdout.write(
            f"{made} is artifact {made.pk} of {found} ({made.digest[:12]}, {made.size:,} bytes)."
        )
