"""Agreeing, taking it back, and taking items back: what it keeps out, what it leaves alone, and who is told."""

import hashlib
import json

import pytest
from django.core.exceptions import ObjectDoesNotExist
from django.test import Client

from annotation import consent, services, snapshots
from annotation.errors import Conflict, Invalid
from annotation.models import Assignment, Consent, Item, Role
from tests.annotation import studies
from webapp.runs.lineage import trained_on
from webapp.runs.models import Artifact, Run, RunInput

pytestmark = pytest.mark.django_db


def freeze(study):
    return snapshots.freeze(study=study, by=study.created_by)


def said_by(snapshot) -> list[int]:
    return [json.loads(line)["source"]["label"] for line in snapshots.lines_of(snapshot)]


def as_user(user) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def study():
    made = studies.study(items=4, members=2, overlap=2)
    for user in studies.annotators(made):
        for _ in range(4):
            studies.label_next(made, user)
    return made


# --- agreeing


def test_whoever_words_it_agrees_to_it_by_asking_it():
    study = studies.study(consent="For science.", items=1)
    owner = study.created_by
    assert studies.claim(study, owner)
    services.change_study(study=study, consent="For profit.", by=owner)
    held = Consent.objects.filter(user=owner, withdrawn_at=None).values_list("version", flat=True)
    assert list(held) == [1, 2]


def test_a_new_text_is_a_new_version_that_everyone_is_asked_anew():
    study = studies.study(consent="For science.", guidelines="Be kind.", members=1)
    mine = study.memberships.get(user=studies.annotators(study)[0])
    consent.agree(mine, 1)
    services.change_study(study=study, consent="For science and profit.")
    study.refresh_from_db()
    assert (study.consent_version, mine.consent_version) == (2, 1)
    texts = study.wordings.filter(field="consent").values_list("version", "text")
    assert list(texts) == [(1, "For science."), (2, "For science and profit.")]
    with pytest.raises(Conflict, match="changed while you read it"):
        consent.agree(mine, 1)
    consent.agree(mine, 2)
    consent.agree(mine, 2)
    given = Consent.objects.filter(user=mine.user).values_list("version", flat=True)
    assert list(given) == [1, 2]
    services.change_study(study=study, guidelines="Be kinder.")
    study.refresh_from_db()
    assert study.consent_version == 2


def test_there_is_nothing_to_agree_to_where_nothing_is_asked(study):
    with pytest.raises(Conflict, match="asks for no consent"):
        consent.agree(study.memberships.first())


# --- taking it back


def test_who_takes_consent_back_is_in_no_new_snapshot_until_they_agree_again(study):
    ada, bob = studies.annotators(study)
    before = freeze(study)
    mine = study.memberships.get(user=ada)
    assert consent.withdraw(mine) == [before]
    after = freeze(study)
    theirs = set(study.labels.filter(annotator=ada).values_list("pk", flat=True))
    assert theirs <= set(said_by(before)) and not theirs & set(said_by(after))
    assert len(said_by(after)) == 4
    assert snapshots.verify(before) == before.folder
    assert consent.affected(study, user=ada.pk) == [before]
    assert consent.affected(study, user=bob.pk) == [after, before]
    services.change_study(study=study, consent="Again?")
    consent.agree(mine)
    assert theirs <= set(said_by(freeze(study)))


def test_a_withdrawal_outlasts_the_text_it_was_made_under(study):
    ada, _ = studies.annotators(study)
    services.change_study(study=study, consent="For science.")
    mine = study.memberships.get(user=ada)
    consent.agree(mine)
    consent.withdraw(mine)
    services.change_study(study=study, consent="")
    assert len(said_by(freeze(study))) == 4


def test_a_withdrawn_reviewer_settles_nothing(study):
    from annotation.models import Verdict

    task = study.tasks.first()
    reviewer = studies.person()
    member = services.join_study(study=study, user=reviewer, role=Role.REVIEWER)
    Verdict.objects.create(study=study, task=task, reviewer=reviewer, answer={"choice": "tie"})
    assert freeze(study).records == 7
    consent.withdraw(member)
    assert freeze(study).records == 8


# --- items


def test_after_an_opt_out_new_versions_lack_the_item_and_the_old_hash_still_verifies(study):
    before = freeze(study)
    held = (before.folder / "records.jsonl").read_bytes()
    item = study.items.all()[2]
    assert consent.withdraw_item(item=item, by=study.created_by, reason="Its writer asked.") == [before]
    item.refresh_from_db()
    assert item.withdrawn_reason == "Its writer asked." and item.withdrawn_at
    after = freeze(study)
    items = {json.loads(line)["source"]["item"] for line in snapshots.lines_of(after)}
    assert items == set(study.items.exclude(pk=item.pk).values_list("pk", flat=True))
    assert after.parent == before and after.digest != before.digest
    assert snapshots.verify(before) == before.folder
    assert hashlib.sha256(held).hexdigest() == before.digest
    assert consent.affected(study, item=item) == [before]
    assert Item.objects.filter(pk=item.pk).exists()


def test_every_item_is_found_in_a_file_and_no_other(study):
    frozen = freeze(study)
    held = list(study.items.values_list("pk", flat=True))
    assert all(consent.holds_item(frozen, pk) for pk in held)
    assert not any(consent.holds_item(frozen, pk) for pk in (min(held) - 1, max(held) + 1, 10**9))


def test_a_withdrawn_item_is_asked_of_nobody_any_more():
    study = studies.study(items=2, members=2)
    ada, bob = studies.annotators(study)
    turn = studies.claim(study, ada)
    consent.withdraw_item(item=turn.item, by=study.created_by)
    assert studies.state(turn) == Assignment.State.EXPIRED
    with pytest.raises(Conflict):
        studies.answer(turn)
    services.skip_task(task=turn.task, annotator=ada)
    turn.task.refresh_from_db()
    assert turn.task.open == 0
    handed = [studies.claim(study, user) for user in (ada, bob)]
    assert turn.item not in [one.item for one in handed if one]


def test_the_first_withdrawal_of_an_item_stands(study):
    item = study.items.first()
    consent.withdraw_item(item=item, by=study.created_by, reason="First.")
    when = item.withdrawn_at
    consent.withdraw_item(item=item, by=study.created_by, reason="Second.")
    assert (item.withdrawn_at, item.withdrawn_reason) == (when, "First.")


# --- what learned from it


def test_runs_and_models_are_listed_at_every_remove(study):
    before = freeze(study)
    first = Run.objects.create(study=study, snapshot=before, method="reward/bradley_terry")
    model = Artifact.objects.create(
        run=first, study=study, kind="reward_model", name="judge", path="x", digest="0" * 64, size=1
    )
    second = Run.objects.create(study=study, method="online/rloo")
    RunInput.objects.create(run=second, role="reward_model", artifact=model)
    policy = Artifact.objects.create(
        run=second, study=study, kind="policy", name="writer", path="y", digest="1" * 64, size=1
    )
    item = study.items.first()
    held = consent.withdraw_item(item=item, by=study.created_by)
    clean = Run.objects.create(study=study, snapshot=freeze(study), method="reward/bradley_terry")
    rows = trained_on(held)
    assert [(one["run"], one["models"], one["through"]) for one in rows] == [
        (second, [policy], [first.pk]),
        (first, [model], []),
    ]
    owner = as_user(study.created_by)
    page = owner.get(f"/studies/{study.pk}/affected/?item={item.pk}").text
    assert f"run {first.pk}" in page and f"run {second.pk}" in page and f"run {clean.pk}" not in page
    assert "judge" in page and "writer" in page
    told = owner.get(f"/api/studies/{study.pk}/affected?item={item.pk}").json()
    assert told["snapshots"] == [before.pk]
    assert [one["run"] for one in told["runs"]] == [second.pk, first.pk]
    ada = studies.annotators(study)[0]
    assert owner.get(f"/api/studies/{study.pk}/affected?person={ada.pk}").json()["snapshots"]
    for query in ("", "?item=0", "?person=0", "?item=abc"):
        assert owner.get(f"/studies/{study.pk}/affected/{query}").status_code == 404


# --- the pages


def test_a_person_agrees_chooses_a_name_and_takes_it_back_on_one_page():
    study = studies.study(items=2, members=1, consent="For **science**.", pay="12 an hour")
    (ada,) = studies.annotators(study)
    page = f"/studies/{study.pk}/consent/"
    client = as_user(ada)
    shown = client.get(page).text
    assert "<strong>science</strong>" in shown and "12 an hour" in shown and "I agree" in shown
    assert client.post(page, {"agree": "1", "version": "1"}).url == f"/studies/{study.pk}/label/"
    studies.label_next(study, ada)
    assert "You agreed" in client.get(page).text
    client.post(page, {"save": "1", "attribution": "named"})
    mine = study.memberships.get(user=ada)
    assert (mine.consent_version, mine.attribution) == (1, "named")
    frozen = freeze(study)
    assert f"| {ada.username} |" in frozen.card
    assert client.post(page, {"withdraw": "1"}).url == page
    assert "You took it back" in client.get(page).text
    with pytest.raises(Invalid, match="left out"):
        freeze(study)
    assert (
        client.post(page, {"attribution": "loud"}, follow=True).text.count("expected one of pseudonym") == 1
    )


def test_the_data_page_shows_terms_consents_and_what_is_pending(study):
    owner = as_user(study.created_by)
    page = f"/studies/{study.pk}/data/"
    assert "CC-BY-4.0" in owner.get(page).text
    freeze(study)
    item = study.items.first()
    answer = owner.post(
        f"/studies/{study.pk}/items/withdraw/", {"item": str(item.pk), "reason": "Asked."}, follow=True
    )
    assert "Snapshots from before that hold it: 1." in answer.text
    assert "1 withdrawal is still in the newest snapshot" in answer.text
    newest = study.snapshots.first()
    assert "1 of its items was withdrawn" in owner.get(f"/snapshots/{newest.pk}/").text
    freeze(study)
    shown = owner.get(page).text
    assert "still in the newest" not in shown and "Asked." in shown
    gone = owner.post(f"/studies/{study.pk}/items/withdraw/", {"item": "no such"}, follow=True)
    assert "has no item" in gone.text


def test_a_look_for_personal_data_names_item_and_kind(study):
    item = study.items.first()
    item.candidates.filter(index=1).update(text="Write to ada@engine.org.")
    shown = as_user(study.created_by).get(f"/studies/{study.pk}/data/?look=1").text
    assert "Read 4 of 4 items" in shown and "answer 2: an e-mail address" in shown
    assert "ada@engine.org" not in shown


@pytest.mark.parametrize(
    ("method", "path", "least"),
    [
        ("get", "/studies/{study}/data/", Role.REVIEWER),
        ("get", "/studies/{study}/consent/", Role.ANNOTATOR),
        ("get", "/studies/{study}/export/?format=kibitz", Role.RESEARCHER),
        ("get", "/snapshots/{snapshot}/export/?format=kibitz", Role.REVIEWER),
        ("get", "/studies/{study}/affected/?item={item}", Role.REVIEWER),
        ("post", "/studies/{study}/items/withdraw/", Role.RESEARCHER),
        ("get", "/api/studies/{study}/consent", Role.ANNOTATOR),
        ("post", "/api/studies/{study}/consent", Role.ANNOTATOR),
        ("get", "/api/studies/{study}/export", Role.RESEARCHER),
        ("post", "/api/items/{item}/withdraw", Role.RESEARCHER),
        ("get", "/api/studies/{study}/affected?item={item}", Role.REVIEWER),
    ],
)
def test_lesser_roles_and_strangers_find_nothing(study, method, path, least):
    frozen, item = freeze(study), study.items.first()
    address = path.format(study=study.pk, snapshot=frozen.pk, item=item.pk)
    for role in (None, *Role):
        user = studies.person()
        if role:
            services.join_study(study=study, user=user, role=role)
        body = (
            {"data": "{}", "content_type": "application/json"} if "/api/" in path and method == "post" else {}
        )
        status = getattr(as_user(user), method)(address, **body).status_code
        allowed = role is not None and Role(role).rank >= least.rank
        assert (status != 404) == allowed, (role, status)


def test_the_item_of_another_study_cannot_be_withdrawn_from_here(study):
    other = studies.study(items=1, owner=study.created_by)
    item = other.items.get()
    as_user(study.created_by).post(f"/studies/{study.pk}/items/withdraw/", {"item": str(item.pk)})
    item.refresh_from_db()
    assert item.withdrawn_at is None


def test_the_api_agrees_withdraws_and_says_what_it_touches(study):
    ada, _ = studies.annotators(study)
    services.change_study(study=study, consent="For science.")
    frozen = freeze(study)
    client = as_user(ada)
    address = f"/api/studies/{study.pk}/consent"
    held = client.post(address, {"agree": True, "version": 1}, content_type="application/json").json()
    assert (held["held"], held["version"], held["affected"]) == (1, 1, [])
    old = client.post(address, {"agree": True, "version": 7}, content_type="application/json")
    assert old.status_code == 409
    back = client.post(
        address, {"agree": False, "attribution": "none"}, content_type="application/json"
    ).json()
    assert (back["held"], back["attribution"], back["affected"]) == (0, "none", [frozen.pk])
    item = study.items.first()
    gone = as_user(study.created_by).post(
        f"/api/items/{item.pk}/withdraw", {"reason": "Asked."}, content_type="application/json"
    )
    assert gone.json()["affected"] == [frozen.pk]
    with pytest.raises(ObjectDoesNotExist):
        study.items.get(pk=item.pk, withdrawn_at=None)
