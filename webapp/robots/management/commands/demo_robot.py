"""Makes the demo study "Talk to the robot", with a robot that wants correcting. Doing it again changes nothing."""

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError

from webapp.robots.demo import find_demo, make_demo


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser) -> None:
        parser.add_argument("--owner", required=True, help="the username of the study's owner")

    def handle(self, *, owner: str, **options) -> None:
        if study := find_demo():
            self.stdout.write(f"The robots' demo study is there: {study.name} (study {study.pk}).")
            return
        person = get_user_model().objects.filter(username=owner).first()
        if person is None:
            raise CommandError(f"There is no account {owner!r}. Name an account that exists.")
        study = make_demo(owner=person)
        self.stdout.write(
            f"Made the demo study {study.name} (study {study.pk}): {study.items.count()} pairs of clips, and a robot "
            "to talk to."
        )
