"""The pages of robots, as the server makes them."""

from __future__ import annotations

import re

import pytest
from django.test import Client

from annotation.models import Role
from annotation.services import join_study
from tests.annotation.studies import person
from tests.webapp.robots import study_of


def tabs(page: str) -> list[str]:
    """The words of the tabs of a study's page."""
    bar = page[page.index('<nav class="tabs"') :].split("</nav>")[0]
    return re.findall(r">([^<>]+)</a>", bar)


@pytest.mark.django_db
@pytest.mark.parametrize("role", Role.values)
def test_the_robots_of_a_study_stand_beside_the_same_pages_as_the_study_itself(role):
    study = study_of(person("ada"))
    bob = person("bob")
    join_study(study=study, user=bob, role=role)
    client = Client()
    client.force_login(bob)
    pages = [client.get(f"/studies/{study.pk}/{place}").content.decode() for place in ("", "robots/")]
    assert tabs(pages[1]) == tabs(pages[0])
    assert ("Quality" in tabs(pages[1])) == (role != Role.ANNOTATOR)
