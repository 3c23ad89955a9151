"""The forms about studies."""

import ast
import inspect
import textwrap
from dataclasses import fields
from typing import Literal, get_args, get_origin

from django import forms

from annotation import exporters
from annotation.errors import Invalid
from annotation.formats import FORMATS
from annotation.interfaces.registry import INTERFACES, interface
from annotation.models import Policy, Recording
from annotation.pairing import MOST_PAIRS
from annotation.snapshots.card import SPDX
from annotation.webhooks import EVENTS


class StudyForm(forms.Form):
    """What may change at any time: the words of a study."""

    licences = SPDX
    """What the page suggests; any other words will do."""

    name = forms.CharField(max_length=200, label="Name")
    guidelines = forms.CharField(
        required=False,
        strip=False,
        label="Guideline",
        help_text="What to look for, what matters more than what, in Markdown. Annotators open it with G.",
        widget=forms.Textarea(attrs={"rows": 12}),
    )
    names_hidden = forms.BooleanField(
        required=False,
        initial=True,
        label="Hide which model wrote an answer",
        help_text="Names sway people. Leave it on unless the study is about the names.",
    )
    licence = forms.CharField(
        required=False,
        max_length=200,
        widget=forms.TextInput(attrs={"list": "licences"}),
        label="Licence of the labels",
        help_text="Goes into the card of each snapshot, e.g. CC-BY-4.0.",
    )
    consent = forms.CharField(
        required=False,
        label="What annotators agree to",
        help_text="Goes into the card too: what they were told about the use of their answers.",
        widget=forms.Textarea(attrs={"rows": 3}),
    )


class NewStudyForm(StudyForm):
    """And what is decided once, because tasks are made by it: how to ask, and how many people."""

    overlap = forms.IntegerField(
        min_value=1,
        max_value=100,
        initial=1,
        label="People for each task",
        help_text="Two or more let you see how far people agree.",
    )

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for kind in INTERFACES:
            module = interface(kind)
            self.fields[f"ask_{kind}"] = forms.BooleanField(
                required=False, initial=kind == "pairwise", label=module.label, help_text=summary(module)
            )
            for option in fields(module.Options):
                self.fields[f"{kind}.{option.name}"] = option_field(module, option)

    def clean(self):
        cleaned = super().clean()
        if not any(cleaned.get(f"ask_{kind}") for kind in INTERFACES):
            raise forms.ValidationError("Choose at least one way of asking.")
        return cleaned

    def ways(self):
        """For the page: each way of asking with the fields of its options."""
        return [
            (
                self[f"ask_{kind}"],
                [self[name] for name in self.fields if name.startswith(f"{kind}.")],
            )
            for kind in INTERFACES
        ]

    def interfaces(self) -> list[dict]:
        chosen = [kind for kind in INTERFACES if self.cleaned_data[f"ask_{kind}"]]
        return [
            {
                "kind": kind,
                "options": {
                    option.name: self.cleaned_data[f"{kind}.{option.name}"]
                    for option in fields(interface(kind).Options)
                    if self.cleaned_data[f"{kind}.{option.name}"] is not None
                },
            }
            for kind in chosen
        ]


def summary(module) -> str:
    """The first sentence of an interface's own description."""
    return module.__doc__.strip().split("\n\n")[0].replace("\n", " ").replace("`", "")


def docs(options: type) -> dict[str, str]:
    """The docstring under each field, which Python itself does not keep."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(options))).body
    following = zip(tree.body, tree.body[1:], strict=False)
    return {
        one.target.id: " ".join(after.value.value.split())
        for one, after in following
        if isinstance(one, ast.AnnAssign) and isinstance(after, ast.Expr)
    }


def option_field(module, option) -> forms.Field:
    """A form field for one option of an interface, by its type."""
    words = option.name.replace("_", " ").capitalize()
    help_text = docs(module.Options).get(option.name, "")
    if get_origin(option.type) is Literal:
        choices = [(one, one) for one in get_args(option.type)]
        return forms.TypedChoiceField(
            choices=choices,
            coerce=type(option.default),
            initial=option.default,
            label=words,
            help_text=help_text,
            required=False,
            empty_value=None,
        )
    if option.type is not bool:
        return WrittenOption(module, initial=module.as_text(option.default), label=words, help_text=help_text)
    return forms.BooleanField(required=False, initial=option.default, label=words, help_text=help_text)


class WrittenOption(forms.CharField):
    """An option that a person writes as text, in a spelling of the interface's own; left empty, the default."""

    def __init__(self, module, **rest):
        super().__init__(required=False, strip=False, widget=forms.Textarea(attrs={"rows": 8}), **rest)
        self.module = module

    def clean(self, value):
        text = super().clean(value)
        try:
            return self.module.from_text(text) if text.strip() else None
        except Invalid as problem:
            raise forms.ValidationError(str(problem)) from None


class RulesForm(forms.Form):
    """What a study sets about its queue and its quality; may change at any time."""

    policy = forms.ChoiceField(
        choices=Policy.choices,
        label="Which task comes next",
        help_text="A model's order is renewed while people label.",
    )
    stratum = forms.CharField(
        required=False,
        max_length=100,
        label="Stratum",
        help_text="The key of an item's source whose values take turns, e.g. topic. Quality is shown by it too.",
    )
    more_people = forms.IntegerField(
        min_value=0,
        max_value=20,
        label="Ask so many more",
        help_text="Where the answers to a task lie far apart, once; 0 asks nobody.",
    )
    wide_spread = forms.FloatField(
        min_value=0,
        max_value=100,
        label="Far apart is",
        help_text="On the scale of the question: a comparison goes from -3 to 3.",
    )
    gold_rate = forms.FloatField(
        min_value=0,
        max_value=0.5,
        label="Share of gold",
        help_text="Of the tasks handed out; 0.05 is one in twenty.",
    )
    calibration_rate = forms.FloatField(
        min_value=0, max_value=0.5, label="Share of calibration", help_text="Tasks that everyone is asked."
    )
    repeat_rate = forms.FloatField(
        min_value=0,
        max_value=0.5,
        label="Share of repeats",
        help_text="The same question to the same person once more, sides swapped: do they agree with themselves?",
    )
    share_gold = forms.BooleanField(
        required=False,
        label="Show people how often they match the gold",
        help_text="Never which tasks it was.",
    )
    pass_bar = forms.FloatField(
        min_value=0,
        max_value=1,
        label="Bar to pass",
        help_text="The share of the qualification to get right, e.g. 0.8; 0 lets everyone in.",
    )
    drift_bar = forms.FloatField(
        min_value=0,
        max_value=1,
        label="Bar to stay",
        help_text="Who gets less than this share of their last 20 gold tasks right qualifies anew; 0: never.",
    )
    by_reliability = forms.BooleanField(
        required=False,
        label="Weigh labels by how reliable whoever gave them is",
        help_text="In snapshots from now on, as the Quality page estimates it; the losses of reward models use it.",
    )


class ImportForm(forms.Form):
    file = forms.FileField(label="File", help_text="JSONL or CSV in UTF-8; packed with gzip is fine.")
    format = forms.ChoiceField(
        choices=[(name, words) for name, (words, _) in FORMATS.items()], label="It holds"
    )
    licence = forms.CharField(
        required=False,
        max_length=200,
        label="Licence of the file",
        help_text="Goes into the card of each snapshot, e.g. CC-BY-4.0.",
    )


class PairsForm(forms.Form):
    """How pairs of clips are drawn from a study's recordings; what `annotation.pairing.pair_clips` takes."""

    world = forms.CharField(max_length=100, widget=forms.HiddenInput)
    task = forms.CharField(required=False, max_length=200, widget=forms.HiddenInput)
    recordings = forms.ModelMultipleChoiceField(Recording.objects.none(), required=False)
    count = forms.IntegerField(
        min_value=1, max_value=MOST_PAIRS, initial=20, label="Pairs", help_text="Each is one task to compare."
    )
    length = forms.IntegerField(
        required=False, min_value=1, max_value=10**6, initial=30, label="Steps of a clip",
        help_text="Cut out at random; left empty, each recording is shown whole.",
    )  # fmt: skip
    seed = forms.IntegerField(
        min_value=0, max_value=2**31 - 1, initial=0, label="Seed",
        help_text="The same one draws the same pairs again; another draws others.",
    )  # fmt: skip

    def __init__(self, *args, study, **rest):
        super().__init__(*args, **rest)
        self.fields["recordings"].queryset = study.recordings.all()


class WebhookForm(forms.Form):
    url = forms.CharField(
        max_length=500,
        label="Address",
        help_text="Gets a POST with a signed JSON letter for each event, e.g. https://example.org/kibitz.",
        widget=forms.URLInput(attrs={"autocomplete": "off"}),
    )
    events = forms.MultipleChoiceField(
        choices=[(name, f"{name}: {words}") for name, words in EVENTS.items()],
        widget=forms.CheckboxSelectMultiple,
        label="Tell it when",
    )


class ExportForm(forms.Form):
    """What an export is to hold; sent by GET, read by `annotation.exporters.read`. A frozen one has no history."""

    def __init__(self, *args, frozen: bool = False, **rest):
        super().__init__(*args, **rest)
        if frozen:
            choices = self.fields["format"].choices
            self.fields["format"].choices = [one for one in choices if one[0] != "history"]

    format = forms.ChoiceField(
        choices=[(name, one.label) for name, one in exporters.FORMATS.items()], label="Format"
    )
    ties = forms.ChoiceField(
        required=False, choices=list(exporters.TIES.items()), label="Ties",
        help_text="For preferences; JSONL of Kibitz and CSV keep ties as they are.",
    )  # fmt: skip
    personal = forms.ChoiceField(
        required=False, choices=list(exporters.PERSONAL.items()), label="Personal data",
        help_text="Addresses, telephone, card and account numbers. Look for it before you publish.",
    )  # fmt: skip
    since = forms.DateField(
        required=False, widget=forms.DateInput(attrs={"type": "date"}), label="Labelled from"
    )
    until = forms.DateField(
        required=False, widget=forms.DateInput(attrs={"type": "date"}), label="Labelled up to"
    )
    agreement = forms.FloatField(
        required=False, min_value=0, max_value=1, label="Least agreement",
        help_text="0 to 1, of those who judged the same task. Tasks of one person are left out then.",
        widget=forms.NumberInput(attrs={"step": "0.05"}),
    )  # fmt: skip
    annotators = forms.CharField(
        required=False, label="Only by", help_text="Names as in the card, divided by commas."
    )
    source = forms.CharField(
        required=False, label="Only items of", help_text="“import 3”, “run 12” or “added here”."
    )
    test = forms.FloatField(
        required=False, min_value=0, max_value=0.9, label="Share for test",
        help_text="Divided by prompt: no prompt is in two parts.", widget=forms.NumberInput(attrs={"step": "0.05"}),
    )  # fmt: skip
    validation = forms.FloatField(
        required=False, min_value=0, max_value=0.9, label="Share for validation",
        widget=forms.NumberInput(attrs={"step": "0.05"}),
    )  # fmt: skip
    seed = forms.IntegerField(required=False, min_value=0, label="Seed", help_text="0, if not set.")
    split = forms.ChoiceField(
        required=False, label="Part",
        choices=[("", "all"), ("train", "train"), ("validation", "validation"), ("test", "test")],
    )  # fmt: skip
