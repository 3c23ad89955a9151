"""`manage.py freeze STUDY --by USERNAME`: the labels of a study, frozen into a snapshot."""

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError

from annotation.errors import Invalid
from annotation.models import Study
from annotation.snapshots import freeze


class Command(BaseCommand):
    help = "Freezes the labels of a study as they stand. The same labels are the same snapshot."

    def add_arguments(self, parser):
        parser.add_argument("study", type=int, help="The number of the study.")
        parser.add_argument("--by", help="Who freezes it; the study's maker, if not said.")
        parser.add_argument("--name", default="", help="What to call the snapshot.")

    def handle(self, *, study: int, by: str | None, name: str, **_):
        found = Study.objects.filter(pk=study).first()
        if found is None:
            raise CommandError(f"There is no study {study}.")
        person = get_user_model().objects.filter(username=by).first() if by else found.created_by
        if person is None:
            raise CommandError(f"Nobody here is called {by!r}.")
        try:
            snapshot = freeze(study=found, by=person, name=name)
        except Invalid as problem:
            raise CommandError(str(problem)) from None
        self.stdout.write(f"Snapshot {snapshot.pk}: {snapshot.records:,} records, {snapshot.digest}")
        for step in snapshot.process["filters"]:
            if step["left_out"]:
                self.stdout.write(f"  left out {step['left_out']:,} labels: {step['why']}")
