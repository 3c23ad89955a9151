"""The form that starts a session."""

from __future__ import annotations

from typing import Any

from django import forms

from trainers.envs.registry import WORLDS
from webapp.robots.models import Pilot
from webapp.robots.services import MOST_HOLD
from webapp.runs.models import Artifact


class StartForm(forms.Form):
    """World, task and who acts; what it can offer depends on the study and on what is installed here."""

    world = forms.ChoiceField()
    task = forms.ChoiceField(required=False)
    pilot = forms.ChoiceField(choices=Pilot.choices, initial=Pilot.POLICY)
    policy = forms.ModelChoiceField(Artifact.objects.none(), required=False)
    seed = forms.IntegerField(min_value=0, max_value=2**31 - 1, initial=0, required=False)
    hold = forms.IntegerField(
        min_value=1, max_value=MOST_HOLD, initial=30, required=False,
        help_text="Steps for which what was said is obeyed.",
    )  # fmt: skip
    dials = forms.JSONField(
        required=False, help_text='What goes wrong, and how much of it: {"camera_shift": 0.1}.'
    )

    def __init__(self, *given: Any, study, **rest: Any) -> None:
        super().__init__(*given, **rest)
        here = {name: entry for name, entry in WORLDS.items() if entry.here}
        self.fields["world"].choices = [(name, entry.title) for name, entry in here.items()]
        tasks = dict.fromkeys(task for entry in here.values() for task in entry.tasks)
        self.fields["task"].choices = [("", "The world's own"), *((one, one) for one in tasks)]
        policies = Artifact.objects.filter(study=study, kind=Artifact.Kind.ROBOT_POLICY).order_by("-pk")
        self.fields["policy"].queryset = policies
        newest = policies.first()
        if newest:
            self.fields["policy"].initial = newest
            self._begin_as(self._last(study) or newest.meta)
        else:
            self.fields["pilot"].initial = Pilot.SCRIPTED

    def _last(self, study) -> dict[str, Any] | None:
        """What the study's last session was about: most start another like it."""
        return study.sessions.order_by("-pk").values("world", "task", "dials").first()

    def _begin_as(self, wanted: dict[str, Any]) -> None:
        """What is chosen at first, as far as it is said: {"world", "task", "dials"}."""
        for name in ("world", "task", "dials"):
            if wanted.get(name):
                self.fields[name].initial = wanted[name]

    def asked(self) -> dict[str, Any]:
        """What `services.start_session` takes."""
        given = {**self.cleaned_data}
        given["seed"], given["hold"] = given["seed"] or 0, given["hold"] or 30
        given["dials"] = given["dials"] or {}
        if given["pilot"] != Pilot.POLICY:
            given["policy"] = None
        return given
