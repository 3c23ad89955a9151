"""The forms about runs: what to start, and what a study's loop may do by itself."""

from __future__ import annotations

import pkgutil
from typing import Any

from django import forms

from annotation.errors import Invalid
from annotation.models import Snapshot
from trainers import envs, registry
from webapp.runs.models import Artifact, Loop, Run
from webapp.runs.services import KIND_OF_ROLE

ROLES = {
    "policy": ("Policy to start from", "The model that is trained, or asked."),
    "reference": (
        "Reference policy",
        "What the trained policy is kept close to. Left out: where it starts from.",
    ),
    "reward_model": ("Reward model", "Scores what the policy writes."),
    "rival": (
        "Rival policy",
        "Writes the other answer of each comparison. Left out: the same policy writes both.",
    ),
}


class RunForm(forms.Form):
    """One method's run: its data, its models, and a field for every setting of its Config."""

    name = forms.CharField(
        max_length=200, required=False, label="Name", help_text="Yours to tell it from others."
    )
    seed = forms.IntegerField(
        min_value=0, initial=0, help_text="The same seed gives the same run, bit for bit on a CPU."
    )
    gold = forms.ChoiceField(
        required=False, label="Gold rule", help_text="Plotted beside what is learned; never trained on."
    )

    def __init__(self, *args, study, method: str, snapshot: Snapshot | None, **kwargs):
        super().__init__(*args, **kwargs)
        self.study, self.method, self.snapshot = study, method, snapshot
        self.entry = registry.entry(method)
        rules = [module.name for module in pkgutil.iter_modules(envs.__path__)]
        self.fields["gold"].choices = [("", "none"), *((rule, rule) for rule in rules)]
        for role in (*self.entry.inputs, *self.entry.optional_inputs):
            self.fields[f"input_{role}"] = self._input(role)
        for setting in registry.fields(method):
            self.fields[f"config_{setting.name}"] = _field_of(method, setting)

    def _input(self, role: str) -> forms.ModelChoiceField:
        label, doc = ROLES.get(role, (role.replace("_", " ").capitalize(), ""))
        needed = role in self.entry.inputs
        found = models_of(self.study, KIND_OF_ROLE.get(role, role))
        return ModelField(
            found, label=label, help_text=doc, required=needed, initial=found.first() if needed else None,
            empty_label="choose one" if needed else "none",
        )  # fmt: skip

    def inputs(self):
        return [self[name] for name in self.fields if name.startswith("input_")]

    def settings(self):
        return [self[name] for name in self.fields if name.startswith("config_")]

    def asked(self) -> dict[str, Any]:
        """What start_run is to be called with."""
        given = self.cleaned_data
        return {
            "study": self.study,
            "snapshot": self.snapshot,
            "method": self.method,
            "name": given["name"],
            "seed": given["seed"],
            "gold": given["gold"],
            "config": {
                setting.name: given[f"config_{setting.name}"] for setting in registry.fields(self.method)
            },
            "inputs": {
                name.removeprefix("input_"): given[name]
                for name in self.fields
                if name.startswith("input_") and given[name]
            },
        }

    def refuse(self, problem: Invalid) -> None:
        """Says the service's objection beside the field it is about."""
        known = (f"config_{problem.field}", f"input_{problem.field}", problem.field)
        self.add_error(next((name for name in known if name in self.fields), None), str(problem))

    @staticmethod
    def like(run: Run) -> dict[str, Any]:
        """The first values of a run that repeats another with changes."""
        return {
            "name": run.name,
            "seed": run.seed,
            "gold": run.gold,
            **{f"config_{name}": value for name, value in run.config.items()},
            **{f"input_{one.role}": one.artifact_id for one in run.inputs.all()},
        }


class ModelField(forms.ModelChoiceField):
    def label_from_instance(self, artifact: Artifact) -> str:
        made = f"run {artifact.run_id}, step {artifact.step:,}" if artifact.run_id else "brought in"
        return f"{artifact.name} ({made}, {artifact.digest[:8]})"


def models_of(study, kind: str):
    """The study's models of a kind, the newest first."""
    return Artifact.objects.filter(study=study, kind=kind).select_related("run").order_by("-pk")


def _field_of(method: str, setting: registry.Field) -> forms.Field:
    """The form field of one line of a Config. Ranges are checked by read_config, which words the errors."""
    common = {"label": setting.name, "help_text": setting.doc, "initial": setting.default, "required": False}
    if setting.type == "choice":
        return forms.ChoiceField(choices=[(choice, choice) for choice in setting.choices], **common)
    if setting.type == "bool":
        return forms.BooleanField(**common)
    if setting.type == "str":
        return forms.CharField(**common)
    number = forms.TextInput(
        attrs={"inputmode": "numeric" if setting.type == "int" else "decimal", "class": "number"}
    )
    return NumberField(method, setting, widget=number, **common)


class NumberField(forms.Field):
    """A number as written: 3e-4 stays so. Empty means the default; what cannot be is said in the method's words."""

    def __init__(self, method: str, setting: registry.Field, **kwargs):
        super().__init__(**kwargs)
        self.method, self.setting = method, setting

    def prepare_value(self, value):
        return f"{value:g}" if isinstance(value, float) else value

    def clean(self, value):
        if value in self.empty_values:
            return self.setting.default
        try:
            return registry.read_config(self.method, {self.setting.name: value.strip()})[self.setting.name]
        except registry.ConfigError as problem:
            raise forms.ValidationError(str(problem)) from problem


class LoopForm(forms.Form):
    """What a study does by itself."""

    retrain_on = forms.BooleanField(required=False)
    retrain_every = forms.IntegerField(min_value=1, max_value=1_000_000)
    propose_on = forms.BooleanField(required=False)
    propose_count = forms.IntegerField(min_value=1, max_value=100_000)

    @staticmethod
    def of(loop: Loop) -> dict[str, Any]:
        return {name: getattr(loop, name) for name in LoopForm.base_fields}
