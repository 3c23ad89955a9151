"""`manage.py reliability STUDY`: fits a study's labels now, and prints what they say about people and items."""

import json

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError

from annotation.models import Study
from annotation.reliability import sweep


class Command(BaseCommand):
    help = "Fits how far the people of a study agree, and how much each one's labels say."

    def add_arguments(self, parser):
        parser.add_argument("study", type=int, help="the number of the study")
        parser.add_argument("--json", action="store_true", help="the whole report, as it is kept")

    def handle(self, *, study, **options):
        found = Study.objects.filter(pk=study).first()
        if found is None:
            known = ", ".join(f"{one.pk} ({one.name})" for one in Study.objects.order_by("pk"))
            raise CommandError(f"There is no study {study}. There are: {known or 'none'}.")
        row = sweep.fit(found)
        if row is None:
            raise CommandError("Another process is fitting this study now. Try again in a moment.")
        names = dict(get_user_model().objects.values_list("pk", "username"))
        self.stdout.write(dump(row.report) if options["json"] else words(row.report, names))


def dump(report: dict) -> str:
    return json.dumps(report, indent=2, ensure_ascii=False)


def words(report: dict, names: dict[int, str]) -> str:
    lines = [f"{report['labels']:,} labels by {len(report['annotators'])} people, in {report['seconds']} s."]
    for question in report["questions"]:
        lines += ["", question["name"], *(f"  {line}" for line in _numbers(question))]
    lines += ["", f"{'annotator':24} {'labels':>7} {'q':>6} {'95 % interval':>15} {'side':>6} {'weight':>7}"]
    for row in report["annotators"]:
        lines.append(_person(row, names.get(row["user"], f"account {row['user']}")))
    if report["alarms"]:
        lines += ["", "To look at:"]
        lines += [f"  {names.get(one['user'])}: {one['text']} {one['advice']}" for one in report["alarms"]]
    return "\n".join(lines)


def _numbers(question: dict) -> list[str]:
    raw = question["agreement"]
    if raw is None:
        return ["Not known: no task has two people's answers."]
    lines = [
        f"agreement {raw['share']:.1%} (95 % interval {raw['low']:.1%} to {raw['high']:.1%}) over {raw['tasks']:,} "
        f"tasks; chance {raw['chance']:.1%}"
    ]
    for key, name in (
        ("kappa", "Cohen's kappa, mean over pairs"),
        ("fleiss", "Fleiss' kappa"),
        ("alpha", "Krippendorff's alpha, nominal"),
        ("alpha_ordinal", "Krippendorff's alpha, ordinal"),
    ):
        found = question.get(key)
        if found and found["value"] is not None:
            between = f" ({found['low']:.2f} to {found['high']:.2f})" if "low" in found else ""
            lines.append(f"{name} {found['value']:.3f}{between}")
    return lines


def _person(row: dict, name: str) -> str:
    q = between = side = "–"
    if row["fits"]:
        accuracy = row["fits"][0]["accuracy"]
        q, between = f"{accuracy['value']:.3f}", f"{accuracy['low']:.3f}–{accuracy['high']:.3f}"
        if "side" in row["fits"][0]:
            side = f"{row['fits'][0]['side']['value']:+.2f}"
    return f"{name[:24]:24} {row['labels']:>7,} {q:>6} {between:>15} {side:>6} {row['weight']:>7.2f}"
