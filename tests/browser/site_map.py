"""Every address of the site that shows a page, and how to come there in a full house; and those that show none.

Tests of all pages are made from this list. An address that is in neither half fails them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django.urls import URLPattern, URLResolver, get_resolver
from playwright.sync_api import Page, expect

from annotation import services
from annotation.interfaces.registry import INTERFACES
from annotation.models import Assignment
from tests.annotation import studies
from tests.browser.house import House


@dataclass(frozen=True)
class Visit:
    """A page as somebody finds it; nobody where they have not signed in. `alive`: what shows that its script runs."""

    address: str
    who: str = "ada"
    alive: str = ""


def rooms(house: House) -> list[Visit]:
    return [
        *(
            Visit(f"/studies/{house.study.pk}/label/?kind={kind}", alive="form.task .stage:focus")
            for kind in INTERFACES
        ),
        Visit(f"/studies/{house.empty.pk}/label/"),
        Visit(f"/studies/{house.guarded.pk}/label/", who="bob"),
    ]


def of_study(place: str, *others: str) -> Callable[[House], list[Visit]]:
    """A page of the study in full use and of the one that is not begun; `others` are queries to add."""

    def visits(house: House) -> list[Visit]:
        full, empty = (f"/studies/{one.pk}/{place}" for one in (house.study, house.empty))
        return [Visit(full), *(Visit(full + one) for one in others), Visit(empty)]

    return visits


def one(address: str, *names: str, who: str = "ada") -> Callable[[House], list[Visit]]:
    """A page about each of these things of the house."""
    return lambda house: [Visit(address.format(house.ids[name]), who) for name in names]


PAGES: dict[str, Callable[[House], list[Visit]]] = {
    "": lambda house: [Visit("/"), Visit("/", who="bob"), Visit("/", who="cleo")],
    "accounts/login/": lambda house: [Visit("/accounts/login/", who="")],
    "accounts/enter/<str:token>/": lambda house: [Visit("/accounts/enter/spent/", who="")],
    "accounts/invitations/<str:token>/": lambda house: [
        Visit(f"/accounts/invitations/{house.links['invitation']}/", who=""),
        Visit(f"/accounts/invitations/{house.links['invitation']}/", who="cleo"),
        Visit("/accounts/invitations/spent/", who=""),
    ],
    "accounts/password/": lambda house: [Visit("/accounts/password/")],
    "accounts/keys/": lambda house: [Visit("/accounts/keys/")],
    "accounts/tokens/": lambda house: [Visit("/accounts/tokens/"), Visit("/accounts/tokens/", who="bob")],
    "studies/new/": lambda house: [Visit("/studies/new/")],
    "studies/<int:pk>/": lambda house: [
        *of_study("")(house), Visit(f"/studies/{house.study.pk}/", who="bob"),
        Visit(f"/studies/{house.guarded.pk}/", who="bob"),
    ],
    "studies/<int:pk>/quality/": of_study("quality/"),
    "studies/<int:pk>/settings/": of_study("settings/"),
    "studies/<int:pk>/imports/": of_study("imports/"),
    "imports/<int:pk>/": one("/imports/{}/", "import_failed", "import_finished"),
    "studies/<int:pk>/webhooks/": of_study("webhooks/"),
    "studies/<int:pk>/data/": of_study("data/"),
    "studies/<int:pk>/consent/": lambda house: [Visit(f"/studies/{house.guarded.pk}/consent/", who="bob")],
    "snapshots/<int:pk>/": one("/snapshots/{}/", "snapshot", "frozen_again"),
    "studies/<int:pk>/label/": rooms,
    "studies/<int:pk>/review/": of_study("review/", "?which=flagged", "?which=random"),
    "studies/<int:pk>/rules/": of_study("rules/"),
    "studies/<int:pk>/mine/": lambda house: [
        Visit(f"/studies/{house.study.pk}/mine/", who="bob"), Visit(f"/studies/{house.empty.pk}/mine/"),
    ],
    "studies/<int:pk>/people/": of_study("people/"),
    "tasks/<int:pk>/review/": one("/tasks/{}/review/", "flagged", "settled", *INTERFACES),
    "items/<int:pk>/": one("/items/{}/", "item"),
    "runs/": lambda house: [Visit("/runs/"), Visit("/runs/", who="cleo")],
    "runs/<int:pk>/": lambda house: [
        Visit(f"/runs/{house.ids['run']}/", alive=".run-charts .plot[aria-label]"),
        *one("/runs/{}/", "run_failed", "run_finished")(house),
    ],
    "studies/<int:pk>/runs/": of_study("runs/"),
    "studies/<int:pk>/runs/new/": of_study("runs/new/"),
    "studies/<int:pk>/models/": of_study("models/"),
    "studies/<int:pk>/affected/": lambda house: [
        Visit(f"/studies/{house.study.pk}/affected/?item={house.study.items.order_by('pk')[5].pk}"),
        Visit(f"/studies/{house.study.pk}/affected/?person={house.owner.pk}"),
    ],
    "studies/<int:pk>/loop/": of_study("loop/"),
    "studies/<int:pk>/robots/": of_study("robots/"),
    "studies/<int:pk>/recordings/": of_study("recordings/"),
    "robots/<int:pk>/": one("/robots/{}/", "robot", "robot_ended"),
}  # fmt: skip

POSTED = "takes what a form sends, and leads back to a page"
FRAGMENT = "answers a script of another page, with a part of that page or with JSON"
DOWNLOAD = "hands out a file"
NO_PAGES = {
    **dict.fromkeys(
        [
            "accounts/logout/", "accounts/tokens/<int:pk>/revoke/",
            "studies/<int:pk>/people/<int:user_pk>/",
            "studies/<int:pk>/people/invitations/<int:invitation_pk>/revoke/",
            "runs/<int:pk>/command/", "runs/<int:pk>/samples/send/", "studies/<int:pk>/archive/",
            "imports/<int:pk>/cancel/", "webhooks/<int:pk>/", "studies/<int:pk>/freeze/",
            "studies/<int:pk>/items/withdraw/", "studies/<int:pk>/label/undo/", "tasks/<int:pk>/submit/",
            "tasks/<int:pk>/skip/", "tasks/<int:pk>/revise/", "tasks/<int:pk>/remark/",
            "studies/<int:pk>/calibration/", "studies/<int:pk>/members/<int:member>/standing/",
            "tasks/<int:pk>/verdict/take-back/", "tasks/<int:pk>/gold/", "labels/<int:pk>/send-back/",
            "remarks/<int:pk>/resolve/", "robots/<int:pk>/teach/", "robots/<int:pk>/again/",
            "robots/<int:pk>/end/",
        ],
        POSTED,
    ),
    **dict.fromkeys(
        [
            "guidelines/preview/", "runs/<int:pk>/<slug:name>/", "studies/<int:pk>/label/next/",
            "studies/<int:pk>/label/past/", "studies/<int:pk>/label/heartbeat/",
            "tasks/<int:pk>/conversation/", "tasks/<int:pk>/understand/",
            "recordings/<slug:episode>/", "recordings/<slug:episode>/steps/",
        ],
        FRAGMENT,
    ),
    **dict.fromkeys(
        [
            "studies/<int:pk>/export/", "snapshots/<int:pk>/export/",
            "snapshots/<int:pk>/<slug:format>.jsonl", "recordings/<slug:episode>/picture/<int:step>.jpg",
        ],
        DOWNLOAD,
    ),
}  # fmt: skip


def addresses() -> set[str]:
    """Every pattern in the table of addresses, but those of the API, which describes itself at /api/docs."""

    def walk(resolver: URLResolver, before: str):
        for entry in resolver.url_patterns:
            route = before + str(entry.pattern)
            if isinstance(entry, URLPattern):
                yield route
            elif not route.startswith("api/"):
                yield from walk(entry, route)

    return set(walk(get_resolver(), ""))


def visits(house: House, pattern: str | None = None) -> list[Visit]:
    return [visit for name in ([pattern] if pattern is not None else PAGES) for visit in PAGES[name](house)]


class Visitor:
    """Goes from page to page, as one person or another."""

    def __init__(self, page: Page, house: House, sign_in: Callable) -> None:
        self.page, self.sign_in, self.who = page, sign_in, ""
        self.people = {"ada": house.owner, "bob": house.bob, "cleo": studies.person("cleo")}

    def go(self, visit: Visit) -> None:
        if visit.who != self.who:
            self.page.context.clear_cookies()
            if visit.who:
                self.sign_in(self.people[visit.who])
            self.who = visit.who
        if (
            "/label/" in visit.address
        ):  # a room hands out tasks ahead, and nobody may hold those of eight rooms
            Assignment.objects.filter(state="leased").update(lease_until="2020-01-01T00:00:00Z")
            services.release_expired()
        answer = self.page.goto(visit.address)
        assert answer.status in (200, 410), f"{visit.address}: {answer.status}"
        if visit.alive:
            expect(self.page.locator(visit.alive).first).to_be_attached(timeout=30_000)
