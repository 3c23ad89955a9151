"""Who gets in, as whom, and how far."""

from __future__ import annotations

import re
from datetime import timedelta
from threading import Barrier, Thread

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client, RequestFactory
from django.utils import timezone

from annotation.models import Membership, Role
from annotation.services import join_study
from tests.annotation import studies
from webapp.accounts import services
from webapp.accounts.auth import TokenAuth
from webapp.accounts.models import ApiToken, Invitation, LoginLink

User = get_user_model()
PASSWORD = "difference engine"


@pytest.fixture(autouse=True)
def quick_hashes(settings) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def ada(db):
    return User.objects.create_user("ada", password=PASSWORD)


@pytest.fixture
def study(ada):
    return studies.study(items=1, owner=ada, name="Front desk")


def as_user(user) -> Client:
    client = Client()
    client.force_login(user)
    return client


def signed_in_as(client: Client) -> str | None:
    return client.session.get("_auth_user_id")


# --- signing in


def test_a_person_signs_in_whatever_the_case_of_the_name_and_out_again(ada, client):
    client.post("/accounts/login/", {"username": "Ada", "password": PASSWORD})
    assert signed_in_as(client) == str(ada.pk)
    client.post("/accounts/logout/")
    assert signed_in_as(client) is None


def test_a_name_that_differs_by_case_alone_is_taken(ada, client, study):
    _, secret = Invitation.issue(study=study, role="annotator", created_by=ada, days=1, uses=1)
    form = {"username": "ADA", "password1": "a long enough word", "password2": "a long enough word"}
    answer = client.post(f"/accounts/invitations/{secret}/", form)
    assert answer.status_code == 200
    assert User.objects.count() == 1


def test_a_wrong_password_lets_nobody_in_and_says_what_to_do(ada, client):
    answer = client.post("/accounts/login/", {"username": "ada", "password": "wrong"})
    assert "do not go together" in answer.text
    assert signed_in_as(client) is None


def test_every_page_asks_a_stranger_to_sign_in_and_then_leads_there(ada, client, study):
    for url in ["/", f"/studies/{study.pk}/", f"/studies/{study.pk}/label/", "/accounts/tokens/", "/runs/"]:
        answer = client.get(url)
        assert (answer.status_code, answer.url) == (302, f"/accounts/login/?next={url}")
    answer = client.post(
        "/accounts/login/", {"username": "ada", "password": PASSWORD, "next": f"/studies/{study.pk}/"}
    )
    assert answer.url == f"/studies/{study.pk}/"


def test_a_one_time_link_signs_in_once(ada, client):
    plain = LoginLink.issue(ada)
    assert client.get(f"/accounts/enter/{plain}/").url == "/"
    assert signed_in_as(client) == str(ada.pk)
    second = Client()
    answer = second.get(f"/accounts/enter/{plain}/")
    assert answer.status_code == 410
    assert signed_in_as(second) is None
    assert client.get(f"/accounts/enter/{plain}/").url == "/"  # its owner is in already


def test_a_one_time_link_leads_only_to_this_site(ada, client):
    plain = LoginLink.issue(ada)
    assert client.get(f"/accounts/enter/{plain}/?next=https://evil.example/").url == "/"


def test_a_late_link_and_one_of_a_closed_account_open_nothing(ada, client):
    late, closed = LoginLink.issue(ada, minutes=0), LoginLink.issue(ada)
    assert client.get(f"/accounts/enter/{late}/").status_code == 410
    ada.is_active = False
    ada.save()
    assert client.get(f"/accounts/enter/{closed}/").status_code == 410


def test_no_secret_is_stored_as_it_is(ada, study):
    token = ApiToken.issue(ada, "script")[1]
    link = LoginLink.issue(ada)
    invitation = Invitation.issue(study=study, role="annotator", created_by=ada, days=1, uses=1)[1]
    with connection.cursor() as cursor:
        for table in ("accounts_apitoken", "accounts_loginlink", "accounts_invitation"):
            cursor.execute(f"SELECT {table}::text FROM {table}")
            stored = " ".join(row[0] for row in cursor.fetchall())
            assert not any(secret in stored for secret in (token, link, invitation))


def test_whoever_came_by_a_link_sets_a_password_without_an_old_one(client, db):
    guest = User.objects.create_user("guest")
    client.get(f"/accounts/enter/{LoginLink.issue(guest)}/")
    form = {"new_password1": "a long enough word", "new_password2": "a long enough word"}
    assert client.post("/accounts/password/", form).status_code == 302
    assert signed_in_as(client) == str(guest.pk)
    assert Client().login(username="guest", password="a long enough word")


def test_changing_a_password_asks_for_the_old_one(ada):
    client = as_user(ada)
    form = {"new_password1": "a long enough word", "new_password2": "a long enough word"}
    assert client.post("/accounts/password/", form).status_code == 200
    ada.refresh_from_db()
    assert ada.check_password(PASSWORD)


# --- tokens


def authenticate(plain: str):
    request = RequestFactory().get("/api/studies", headers={"Authorization": f"Bearer {plain}"})
    return TokenAuth()(request)


def test_a_token_is_shown_once_works_and_stops_when_revoked(ada):
    client = as_user(ada)
    page = client.post("/accounts/tokens/", {"name": "import script"}).text
    plain = re.search(r"kbz_[\w-]{43}", page)[0]
    assert plain not in client.get("/accounts/tokens/").text
    assert authenticate(plain) == ada
    client.post(f"/accounts/tokens/{ada.api_tokens.get().pk}/revoke/")
    assert authenticate(plain) is None


def test_a_token_is_checked_in_one_statement_which_also_notes_its_use(ada, django_assert_num_queries):
    token, plain = ApiToken.issue(ada, "script")
    for _ in range(2):
        with django_assert_num_queries(1):
            assert authenticate(plain) == ada
    token.refresh_from_db()
    assert timezone.now() - token.last_used_at < timedelta(minutes=1)


def test_a_made_up_token_and_one_of_a_closed_account_are_refused(ada):
    _, plain = ApiToken.issue(ada, "script")
    assert authenticate("kbz_made_up") is None
    User.objects.filter(pk=ada.pk).update(is_active=False)
    assert authenticate(plain) is None


def test_nobody_revokes_anothers_token(ada):
    token, plain = ApiToken.issue(ada, "script")
    assert as_user(studies.person()).post(f"/accounts/tokens/{token.pk}/revoke/").status_code == 404
    assert authenticate(plain) == ada


# --- invitations


def invite(study, owner, role="annotator", uses=1) -> str:
    page = as_user(owner).post(f"/studies/{study.pk}/people/", {"role": role, "uses": uses, "days": 7}).text
    return re.search(r"http://testserver(/accounts/invitations/[\w-]+/)", page)[1]


def test_an_invitation_makes_an_account_and_a_member(ada, study, client):
    link = invite(study, ada)
    assert "Join “Front desk”" in client.get(link).text
    form = {"username": "grace", "password1": "a long enough word", "password2": "a long enough word"}
    assert client.post(link, form).url == f"/studies/{study.pk}/"
    assert Membership.objects.get(study=study, user__username="grace").role == Role.ANNOTATOR
    assert client.get(f"/studies/{study.pk}/").status_code == 200
    assert Client().get(link).status_code == 410


def test_an_invitation_adds_whoever_is_signed_in_and_raises_a_role_but_never_lowers_it(ada, study):
    grace = studies.person("grace")
    as_user(grace).post(invite(study, ada, "annotator"))
    as_user(grace).post(invite(study, ada, "researcher"))
    link = invite(study, ada, "annotator")
    as_user(grace).post(link)
    assert Membership.objects.get(study=study, user=grace).role == Role.RESEARCHER
    assert study.invitations.open().count() == 1  # the last was not needed, so it is not spent


def test_a_withdrawn_invitation_opens_nothing(ada, study):
    link = invite(study, ada)
    as_user(ada).post(f"/studies/{study.pk}/people/invitations/{study.invitations.get().pk}/revoke/")
    assert Client().get(link).status_code == 410


@pytest.mark.django_db(transaction=True)
def test_of_many_people_at_one_last_place_one_gets_in():
    study = studies.study(items=0)
    invitation, _ = Invitation.issue(
        study=study, role="annotator", created_by=study.created_by, days=1, uses=1
    )
    people = [studies.person() for _ in range(8)]
    start, joined = Barrier(len(people)), []

    def accept(user):
        start.wait()
        try:
            joined.append(services.accept_invitation(invitation=invitation, user=user))
        except services.NotPossible:
            pass
        finally:
            connection.close()

    threads = [Thread(target=accept, args=[user]) for user in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(joined) == 1
    assert study.memberships.count() == 2


def test_an_account_is_not_left_behind_when_the_invitation_is_gone(ada, study):
    invitation, _ = Invitation.issue(study=study, role="annotator", created_by=ada, days=1, uses=1)
    invitation.revoke()
    with pytest.raises(services.NotPossible):
        services.accept_as_newcomer(invitation=invitation, username="late", password="a long enough word")
    assert not User.objects.filter(username="late").exists()


# --- roles


def test_owners_change_roles_and_researchers_only_look(ada, study):
    grace, bob = studies.person("grace"), studies.person("bob")
    join_study(study=study, user=grace, role=Role.RESEARCHER)
    join_study(study=study, user=bob, role=Role.ANNOTATOR)
    url = f"/studies/{study.pk}/people/"
    assert as_user(grace).get(url).status_code == 200
    assert as_user(bob).get(url).status_code == 404
    for attempt in [{"role": "owner"}, {"remove": ""}]:
        assert as_user(grace).post(f"{url}{bob.pk}/", attempt).status_code == 404
    assert as_user(grace).post(url, {"role": "owner", "uses": 1, "days": 1}).status_code == 404
    as_user(ada).post(f"{url}{bob.pk}/", {"role": "reviewer"})
    assert study.memberships.get(user=bob).role == Role.REVIEWER
    as_user(ada).post(f"{url}{bob.pk}/", {"remove": ""})
    assert not study.memberships.filter(user=bob).exists()


def test_the_last_owner_can_neither_leave_nor_step_down(ada, study):
    for attempt in [{"role": "annotator"}, {"remove": ""}]:
        answer = as_user(ada).post(f"/studies/{study.pk}/people/{ada.pk}/", attempt, follow=True)
        assert "A study needs an owner" in answer.text
    assert study.memberships.get(user=ada).role == Role.OWNER
