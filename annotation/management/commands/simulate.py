"""Labels a study with simulated annotators, who answer by the demo's stated rule."""

import time

from django.core.management.base import BaseCommand, CommandError

from annotation.models import Study
from annotation.simulation import simulate, simulated_annotators

WAIT_SECONDS = 2.0


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser) -> None:
        parser.add_argument("--study", type=int, required=True, help="the number of the study")
        parser.add_argument("--annotators", type=int, default=4, help="how many take turns")
        parser.add_argument("--labels", type=int, default=200, help="how many labels to give")
        parser.add_argument(
            "--noise", type=float, default=0.1, help="share of comparisons answered by a coin"
        )
        parser.add_argument("--seed", type=int, default=0)
        parser.add_argument(
            "--follow", action="store_true", help="wait for new tasks when there are none left"
        )

    def handle(self, *, study, annotators, labels, noise, seed, follow, **options) -> None:
        found = Study.objects.filter(pk=study).first()
        if found is None:
            known = ", ".join(f"{one.pk} ({one.name})" for one in Study.objects.order_by("pk"))
            raise CommandError(f"There is no study {study}. There are: {known or 'none'}.")
        if annotators < 1 or labels < 1 or not 0 <= noise <= 1:
            raise CommandError("Expected at least one annotator and one label, and a noise from 0 to 1.")
        people = simulated_annotators(found, annotators)
        given = 0
        while True:
            for _ in simulate(found, people, labels - given, noise, seed + given):
                given += 1
                if given % 50 == 0:
                    self.stdout.write(f"{given} labels")
            if given == labels or not follow:
                break
            time.sleep(WAIT_SECONDS)
        self.stdout.write(f"{given} labels by {annotators} simulated annotators in {found.name}.")
        if given < labels:
            self.stdout.write("No task is left for them. --follow waits for new ones.")
