"""The quality of a study's labels, through the real services: agreement, the fit, when it is made anew, the page."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from annotation import gold, reliability, services
from annotation.models import Label, Reliability, Role, Study
from annotation.quality import agreement, wilson
from annotation.reliability import answers, sweep
from annotation.reliability.report import report
from tests.annotation import studies

pytestmark = pytest.mark.django_db


def test_wilsons_interval_is_the_one_worked_by_hand():
    low, high = wilson(0.5, 100)
    assert low == pytest.approx(0.4038, abs=1e-4) and high == pytest.approx(0.5962, abs=1e-4)
    assert wilson(1.0, 4)[1] == pytest.approx(1.0)
    assert wilson(0.0, 4)[0] == pytest.approx(0.0)


def test_each_comparison_counts_once_however_many_judged_it():
    study = studies.study(items=2, members=3, overlap=3)
    assert agreement(study) is None
    for n, user in enumerate(studies.annotators(study)):
        turn = studies.claim(study, user)
        first = "ab"[[one.index for one in turn.candidates].index(0)]
        studies.answer(turn, {"choice": first})
        studies.label_next(study, user, {"choice": "tie" if n else "both_bad"})
    found = agreement(study)
    assert found.tasks == 2
    assert found.share == pytest.approx((1 + 1 / 3) / 2)
    assert 0 <= found.low < found.share < found.high <= 1
    (question,) = report(study)["questions"]
    assert question["agreement"]["share"] == pytest.approx(found.share), (
        "the fit counts as the study page does"
    )


def better(turn, candidate: int, strength: int = 1) -> dict:
    """That the candidate of this index is better, wherever it stands."""
    side = "ab"[[one.index for one in turn.candidates].index(candidate)]
    return {"choice": side, "strength": strength}


def labelled(items: int = 40, seed: int = 0, slips=(0.02, 0.1, 0.8), **rest) -> Study:
    """Answer 0 is better; each annotator slips in so many cases. The last leans: a slip is for the side shown first."""
    study = studies.study(items=items, members=len(slips), overlap=len(slips), **rest)
    rng = random.Random(seed)
    for user, slip in zip(studies.annotators(study), slips, strict=True):
        while turn := studies.claim(study, user):
            said = {"choice": "a"} if rng.random() < slip else better(turn, 0)
            studies.answer(turn, said)
    return study


def test_a_report_names_each_person_with_agreement_reliability_side_bias_and_weight():
    study = labelled()
    found = report(study)
    careful, _, careless = (one.pk for one in studies.annotators(study))
    rows = {row["user"]: row for row in found["annotators"]}
    assert found["labels"] == 120 and {row["labels"] for row in rows.values()} == {40}
    assert rows[careful]["weight"] > 1 > rows[careless]["weight"] >= 0
    assert sum(row["weight"] * row["labels"] for row in rows.values()) == pytest.approx(120, abs=0.05)
    assert rows[careless]["fits"][0]["side"]["low"] > 0, "leans to the answer shown first"
    assert "side bias" in [one["kind"] for one in found["alarms"] if one["user"] == careless]
    assert rows[careful]["with_others"]["tasks"] == 40
    assert reliability.weights(found) == {user: row["weight"] for user, row in rows.items()}


def test_the_order_shown_is_known_to_no_statistic_but_the_side_bias():
    study = labelled()
    before = report(study)
    with connection.cursor() as cursor:  # as if everybody had seen the two answers the other way round
        cursor.execute('UPDATE annotation_assignment SET "order" = ARRAY["order"[2], "order"[1]]')
    after = report(study)
    assert after["questions"] == before["questions"]
    for one, other in zip(before["annotators"], after["annotators"], strict=True):
        first, second = one["fits"][0], other["fits"][0]
        assert second["side"]["value"] == pytest.approx(-first["side"]["value"], abs=1e-3)
        assert second["reliability"]["value"] == pytest.approx(first["reliability"]["value"], abs=1e-3)


def test_both_bad_is_an_answer_of_its_own_and_has_no_place_on_the_scale():
    study = studies.study(items=1, members=3, overlap=3)
    for user, said in zip(studies.annotators(study), ("tie", "both_bad", None), strict=True):
        turn = studies.claim(study, user)
        studies.answer(turn, {"choice": said} if said else better(turn, 0, strength=3))
    (question,) = answers.read(study).questions
    told = dict(zip(question.answer, zip(question.grade, question.direction, strict=True), strict=True))
    assert question.said == ["both bad", "the first is better", "tie"]
    assert told[1] == (3.0, 1) and told[2] == (0.0, 0)
    assert told[0][0] != told[0][0] and told[0][1] == 9, "no grade, no direction"


def test_ratings_are_compared_by_criterion_and_rankings_by_every_two_answers():
    study = studies.study("rating", "ranking", items=2, answers=3, members=2, overlap=2)
    for user in studies.annotators(study):
        while turn := studies.claim(study, user):
            if turn.task.kind == "rating":
                studies.answer(turn, {"scores": {"quality": 1 + turn.candidates[0].index}})
            else:
                studies.answer(turn, {"ranks": {str(one.pk): one.index + 1 for one in turn.candidates}})
    rating, ranking = answers.read(study).questions
    assert (
        rating.name == "rating: quality" and len(rating.units) == 6 and set(rating.grade) == {1.0, 2.0, 3.0}
    )
    assert len(ranking.units) == 6 and set(ranking.weight.round(3)) == {0.667}
    assert set(ranking.direction) == {1} and 0 not in ranking.side
    numbers = {one["name"]: one for one in report(study)["questions"]}
    assert numbers["rating: quality"]["alpha_ordinal"]["value"] == pytest.approx(1)
    assert numbers["ranking"]["agreement"]["share"] == 1 == numbers["ranking"]["agreement"]["chance"]


def test_a_known_answer_is_counted_and_a_withdrawn_label_is_not():
    study = studies.study(items=4, members=1)
    Study.objects.filter(pk=study.pk).update(gold_rate=1.0)  # gold first, as long as there is any
    (user,) = studies.annotators(study)
    task = study.tasks.order_by("pk").first()
    first, second = task.candidates
    known = {"choice": "chosen", "chosen": first, "rejected": second}
    gold.make_gold(task=task, answer=known, by=study.created_by)
    said = []
    while turn := studies.claim(study, user):
        said.append(studies.answer(turn, better(turn, 0)))
    (row,) = report(study)["annotators"]
    assert row["gold"] == {"right": 1, "of": 1} and row["labels"] == 4
    other = next(one for one in said if one.task_id != task.pk)
    services.withdraw_label(label=other, by=study.created_by)
    assert report(study)["labels"] == 3


def test_strata_are_named_by_the_studys_key():
    study = studies.study(items=0, members=2, overlap=2)
    Study.objects.filter(pk=study.pk).update(stratum="topic")
    study.refresh_from_db()
    texts = [{"text": "One."}, {"text": "Two."}]
    services.add_items(
        study=study,
        items=[
            {"context": {"prompt": f"{n}?"}, "candidates": texts, "source": {"topic": "ab"[n % 2]}}
            for n in range(12)
        ],
    )
    for user in studies.annotators(study):
        while turn := studies.claim(study, user):
            studies.answer(turn, better(turn, 0))
    (question,) = report(study)["questions"]
    assert [(row["stratum"], row["agreement"]["tasks"]) for row in question["strata"]] == [("a", 6), ("b", 6)]
    (pair,) = question["pairs"]
    assert pair["tasks"] == 12 and pair["share"] == 1 and pair["kappa"] is None, "one answer alone: no kappa"


# --- when it is fitted


def test_a_fit_is_due_after_enough_new_labels_and_at_most_once_a_minute():
    study = labelled(items=8, slips=(0.0, 0.0))
    assert sweep.due() == [study]
    assert sweep.fit_due() == 1 and sweep.due() == []
    row = reliability.newest(study)
    assert row.report["labels"] == 16 and row.last_label == Label.objects.latest("pk").pk
    Reliability.objects.update(created_at=timezone.now() - timedelta(minutes=2))
    assert sweep.due() == [], "nothing new"
    services.add_items(study=study, items=[{"context": {"prompt": "More?"}, "candidates": ["One.", "Two."]}])
    studies.label_next(study, studies.annotators(study)[0])
    assert sweep.due() == [], "one of sixteen is less than a tenth"
    studies.label_next(study, studies.annotators(study)[1])
    assert sweep.due() == [study]
    Reliability.objects.update(created_at=timezone.now())
    assert sweep.due() == [], "a minute has not gone by"


def test_only_the_newest_fifty_reports_are_kept(monkeypatch):
    monkeypatch.setattr(sweep, "KEPT", 3)
    study = labelled(items=2, slips=(0.0,))
    made = [sweep.fit(study).pk for _ in range(5)]
    assert list(study.reliabilities.values_list("pk", flat=True)) == made[:1:-1]


@pytest.mark.django_db(transaction=True)
def test_two_workers_do_not_fit_one_study_at_once():
    from threading import Thread

    study = labelled(items=2, slips=(0.0,))
    found = []

    def other() -> None:
        found.append(sweep.fit(study))
        connection.close()

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s, %s)", [sweep.LOCK, study.pk])
        thread = Thread(target=other)
        thread.start()
        thread.join()
        cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [sweep.LOCK, study.pk])
    assert found == [None] and sweep.fit(study) is not None


# --- who sees it


def sign_in(user) -> Client:
    client = Client()
    client.force_login(user)
    return client


def test_the_page_shows_agreement_people_items_and_alarms_to_reviewers_alone():
    study = labelled()
    reviewer = studies.person()
    services.join_study(study=study, user=reviewer, role=Role.REVIEWER)
    address = f"/studies/{study.pk}/quality/"
    assert "wait for the first fit" in sign_in(reviewer).get(address).content.decode()
    sweep.fit(study)
    page = sign_in(reviewer).get(address).content.decode()
    careless = studies.annotators(study)[2].username
    for words in (
        "Chance would give",
        "over 40 tasks",
        "120 pairs of answers",
        careless,
        "side bias",
        "hardest items",
    ):
        assert words in page, words
    assert 'aria-current="page">Quality' in page
    for user in (studies.annotators(study)[0], studies.person()):
        assert sign_in(user).get(address).status_code == 404
        assert sign_in(user).get(f"/api/studies/{study.pk}/reliability").status_code == 404


def test_a_study_without_labels_says_what_is_needed():
    study = studies.study(items=0)
    page = sign_in(study.created_by).get(f"/studies/{study.pk}/quality/").content.decode()
    assert "nothing to measure yet" in page and "two or more" in page
    sweep.fit(study)
    page = sign_in(study.created_by).get(f"/studies/{study.pk}/quality/").content.decode()
    assert "no task has two people" in page


def test_the_page_costs_the_same_whatever_the_number_of_labels():
    from django.test.utils import CaptureQueriesContext

    counts = []
    for items in (4, 30):
        study = labelled(items=items)
        sweep.fit(study)
        client = sign_in(study.created_by)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            client.get(f"/studies/{study.pk}/quality/")
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_the_api_gives_the_newest_fit_with_names():
    study = labelled()
    client = sign_in(study.created_by)
    assert client.get(f"/api/studies/{study.pk}/reliability").status_code == 404
    sweep.fit(study)
    found = client.get(f"/api/studies/{study.pk}/reliability").json()
    assert {one["username"] for one in found["annotators"]} == {
        one.username for one in studies.annotators(study)
    }
    assert found["labels"] == 120 and found["questions"][0]["agreement"]["tasks"] == 40
    assert "side bias" in [one["kind"] for one in found["alarms"]] and found["items"][0]["hardest"]


def test_the_command_prints_what_the_page_shows(capsys):
    study = labelled()
    call_command("reliability", study.pk)
    printed = capsys.readouterr().out
    assert "120 labels by 3 people" in printed and "over 40 tasks" in printed and "side" in printed
    for user in studies.annotators(study):
        assert user.username in printed
