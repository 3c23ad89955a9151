"""The figures of a study, over a real socket, to those who may see it."""

from __future__ import annotations

import json
import time

import pytest
from django.test import Client
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from annotation import live
from annotation.models import Role, Task
from annotation.reliability.sweep import fit
from annotation.services import join_study
from tests.annotation import studies


def socket_of(site, study, user):
    client = Client()
    client.force_login(user)
    headers = {"Cookie": f"sessionid={client.cookies['sessionid'].value}", "Origin": site.url}
    return connect(f"{site.url.replace('http', 'ws')}/ws/studies/{study.pk}/", additional_headers=headers)


def until(socket, given: int) -> dict:
    """The first message that counts so many answers."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        said = json.loads(socket.recv(timeout=15))
        if said["given"] == given:
            return said
    raise AssertionError(f"no message counted {given} answers")


def test_every_page_sees_the_figures_change_as_people_label(site):
    study = studies.study(items=4, members=2)
    one, two = studies.annotators(study)
    with socket_of(site, study, one) as first, socket_of(site, study, study.created_by) as second:
        assert until(first, 0)["queue"] == until(second, 0)["queue"] == 4
        studies.label_next(study, two)
        studies.label_next(study, one)
        for socket in (first, second):
            said = until(socket, 2)
            assert (said["wanted"], said["percent"], said["people"], said["queue"]) == (4, 50, 2, 2)
            assert said["seconds"] == 1.5


def test_reviewers_see_agreement_and_flags_and_annotators_do_not(site):
    study = studies.study(items=6, overlap=2, members=2)
    for user in studies.annotators(study):
        for _ in range(6):
            studies.label_next(study, user, {"choice": "tie"})
    assert fit(study)
    with socket_of(site, study, study.created_by) as socket:
        said = until(socket, 12)
        assert (said["agreement"], said["flags"]) == (100, 0)
    with socket_of(site, study, studies.annotators(study)[0]) as socket:
        assert not {"agreement", "agreement_week", "flags"} & set(until(socket, 12))


def test_a_stranger_gets_no_figures_and_who_was_shown_out_gets_no_more(site, monkeypatch):
    monkeypatch.setattr("annotation.consumers.EVERY", 0.05)
    monkeypatch.setattr("annotation.consumers.MAY_STILL_EVERY", 2)
    study = studies.study(items=2, members=1)
    with pytest.raises((InvalidStatus, ConnectionClosed)), socket_of(site, study, studies.person()) as socket:
        socket.recv(timeout=5)
    (user,) = studies.annotators(study)
    with socket_of(site, study, user) as socket:
        until(socket, 0)
        study.memberships.filter(user=user).delete()
        with pytest.raises(ConnectionClosed):
            for _ in range(200):
                socket.recv(timeout=10)


@pytest.mark.django_db
def test_gold_and_calibration_count_neither_as_wanted_nor_as_given():
    study = studies.study(items=4, members=1)
    task = study.tasks.order_by("pk").first()
    Task.objects.filter(pk=task.pk).update(part="calibration", overlap=32767, open=32767)
    join_study(study=study, user=studies.person(), role=Role.ANNOTATOR)
    found = live.figures(study.pk)
    assert (found["given"], found["wanted"], found["pace"], found["hours"]) == (0, 3, 0.0, None)
