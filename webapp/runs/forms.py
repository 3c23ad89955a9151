"""The forms about runs: what to start, and what a study's loop may do by itself."""

from __future__ import annotations

from collections import Counter
from typing import Any

from django import forms
from django.conf import settings

from annotation.errors import Invalid
from annotation.models import Snapshot
from trainers import registry
from trainers.envs.registry import RULES
from webapp.runs.models import DEFAULT_QUEUE, Artifact, Loop, Run, Worker
from webapp.runs.services import KIND_OF_ROLE

ROLES = {
    "policy": ("Policy to start from", "The model that is trained, or asked."),
    "reference": (
        "Reference policy",
        "What the trained policy is kept close to. Left out: where it starts from.",
    ),
    "reward_model": ("Reward model", "Scores what the policy writes."),
    "robot_policy": ("Robot to start from", "The policy that is taught; its newest version, as a rule."),
    "rival": (
        "Rival policy",
        "Writes the other answer of each comparison. Left out: the same policy writes both.",
    ),
    "value": (
        "Value model",
        "Foretells the reward of what is being written. Left out: it begins from nothing.",
    ),
}
# Settings that mean the same in every method and are seldom touched: they wait behind a fold.
USUAL = {
    "micro_batch", "warmup", "weight_decay", "clip", "held_out", "eval_every", "watch", "watch_every", "sample_every",
}  # fmt: skip
RUN_LEVEL = ("processes", "sharding", "sampler", "precision")
"""What a run that repeats another takes over of how that was trained."""
SHOWN = 7
"""Settings of a method's own that are shown at once: what can change while it runs, and what its Config names first."""


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

    queue = forms.ChoiceField(
        label="Device", help_text="What it is trained on: it waits for a worker with one."
    )
    threads = forms.IntegerField(
        required=False,
        label="Threads",
        help_text="Of the processor. Left out: the worker's own share for each run.",
    )
    processes = forms.IntegerField(
        required=False,
        label="Processes",
        help_text="That train together on the worker's machine. Left out: one.",
    )
    sharding = forms.ChoiceField(
        required=False,
        label="Sharding",
        choices=[
            ("none", "none: one process"),
            ("ddp", "ddp: each process holds the whole model"),
            ("fsdp", "fsdp: the model is divided among them"),
        ],
        help_text="How several processes hold the model.",
    )
    sampler = forms.ChoiceField(
        required=False,
        label="Answers drawn by",
        choices=[
            ("policy", "policy: the model that learns"),
            ("vllm", "vllm: in single precision"),
            ("vllm-bfloat16", "vllm-bfloat16: faster, and weighed for what that changes"),
        ],
        help_text="vLLM is for Hugging Face models, on a worker that has it installed.",
    )
    precision = forms.ChoiceField(
        required=False,
        label="Precision",
        choices=[("float32", "float32: exact"), ("bfloat16", "bfloat16: quicker, eight bits")],
        help_text="Of the products of the model that is trained. Sums, weights and losses are float32 either way.",
    )

    def __init__(self, *args, study, method: str, snapshot: Snapshot | None, **kwargs):
        super().__init__(*args, **kwargs)
        self.study, self.method, self.snapshot = study, method, snapshot
        self.entry = registry.entry(method)
        if self.entry.family != "online":
            del self.fields["sampler"]
        self.fields["queue"].choices = devices()
        self.fields["queue"].initial = DEFAULT_QUEUE
        if self.entry.exact:
            precision = self.fields["precision"]
            precision.choices = precision.choices[:1]
            precision.help_text = (
                f"Of the model's products. Nothing else for this method: {self.entry.exact}."
            )
        self.fields["gold"].choices = [("", "none"), *((rule, rule) for rule in RULES)]
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

    def settings(self) -> list[dict[str, Any]]:
        """The settings in groups, what matters most first. A folded group opens where something in it is not usual."""
        known = {setting.name: setting for setting in registry.fields(self.method)}
        own = [name for name in known if name not in USUAL]
        first = [name for name in own if name in self.entry.knobs]
        first = [name for name in own if name in first or name in own[: SHOWN - len(first)]]
        groups = [
            ("", first),
            (f"More of {self.entry.title.partition(':')[0]}", [name for name in own if name not in first]),
            ("Optimiser, memory and measuring", [name for name in known if name in USUAL]),
        ]
        return [
            {
                "title": title,
                "rows": [{"field": self[f"config_{name}"], "setting": known[name]} for name in names],
                "open": any(self._unusual(known[name]) for name in names),
            }
            for title, names in groups
            if names
        ]

    def _unusual(self, setting: registry.Field) -> bool:
        """Whether a setting is wrong, or not what it is by default."""
        name = f"config_{setting.name}"
        return name in self.errors or self.initial.get(name, setting.default) != setting.default

    def about_run(self):
        return [self[name] for name in ("name", "seed", "gold")]

    def machine(self) -> dict[str, Any]:
        """Where the run is to be trained, folded while everything is as usual."""
        usual = {
            "queue": DEFAULT_QUEUE, "threads": None, "processes": 1, "sharding": "none", "sampler": "policy",
            "precision": "float32",
        }  # fmt: skip
        usual = {name: value for name, value in usual.items() if name in self.fields}
        unusual = any(
            name in self.errors or self.initial.get(name, usual[name]) != usual[name] for name in usual
        )
        return {"fields": [self[name] for name in usual], "open": unusual}

    def wrong(self):
        """The fields that were refused, for the summary above them."""
        return [self[name] for name in self.errors if name in self.fields]

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
            "queue": given["queue"],
            "threads": given["threads"],
            "processes": given["processes"] or 1,
            "sharding": given["sharding"] or "none",
            "sampler": given.get("sampler") or "policy",
            "precision": given["precision"] or "float32",
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
            "queue": run.queue,
            **{name: run.provenance[name] for name in RUN_LEVEL if name in run.provenance},
            **{f"config_{name}": value for name, value in run.config.items()},
            **{f"input_{one.role}": one.artifact_id for one in run.inputs.all()},
        }


def devices() -> list[tuple[str, str]]:
    """The queues of runs: those every installation knows, and what live workers take besides; with who is there."""
    alive = Counter(queue for worker in Worker.objects.alive() for queue in worker.queues)
    known = {"cpu": "CPU", "gpu": "GPU (CUDA)"}
    names = [*known, *sorted(set(alive) - set(known) - {settings.CELERY_TASK_DEFAULT_QUEUE})]

    def there(count: int) -> str:
        if not count:
            return "no worker is alive, it would wait"
        return "one worker is alive" if count == 1 else f"{count} workers are alive"

    return [(name, f"{known.get(name, name)}: {there(alive[name])}") for name in names]


class ModelField(forms.ModelChoiceField):
    def label_from_instance(self, artifact: Artifact) -> str:
        said = [f"run {artifact.run_id}, step {artifact.step:,}" if artifact.run_id else "brought in"]
        if artifact.run_id and artifact.run.name:
            said.append(artifact.run.name)
        accuracy = artifact.meta.get("accuracy")
        if isinstance(accuracy, dict):
            accuracy = accuracy.get("value")
        if isinstance(accuracy, int | float):
            said.append(f"right on {accuracy:.0%}")
        return f"{artifact.name} ({', '.join([*said, artifact.digest[:8]])})"


def models_of(study, kind: str):
    """The study's models of a kind, the newest first."""
    return Artifact.objects.filter(study=study, kind=kind).select_related("run").order_by("-pk")


def _field_of(method: str, setting: registry.Field) -> forms.Field:
    """The form field of one line of a Config. What it takes is checked by read_config, which words the errors."""
    common = {"label": setting.name, "help_text": setting.doc, "initial": setting.default, "required": False}
    if setting.type == "bool":
        return forms.BooleanField(**common)
    if setting.type == "choice":
        widget: forms.Widget = forms.Select(choices=[(choice, choice) for choice in setting.choices])
    elif setting.type == "str":
        widget = forms.TextInput()
    else:
        told = {
            "low": setting.low,
            "high": setting.high,
            "above": 1 if setting.above else None,
            "below": 1 if setting.below else None,
            "whole": 1 if setting.type == "int" else None,
        }
        widget = forms.TextInput(
            attrs={
                "inputmode": "numeric" if setting.type == "int" else "decimal",
                "class": "number",
                "autocomplete": "off",
                "data-number": setting.name,
                **{f"data-{name}": f"{value:g}" for name, value in told.items() if value is not None},
            }
        )
    return SettingField(method, setting, widget=widget, **common)


class SettingField(forms.Field):
    """A setting as written: 3e-4 stays so. Empty means the default; what cannot be is said in the method's words."""

    def __init__(self, method: str, setting: registry.Field, **kwargs):
        super().__init__(**kwargs)
        self.method, self.setting = method, setting

    def prepare_value(self, value):
        return f"{value:g}" if isinstance(value, float) else value

    def clean(self, value):
        if value is None or (value in self.empty_values and self.setting.type != "str"):
            return self.setting.default
        try:
            return registry.read_setting(self.method, self.setting.name, value.strip())
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
