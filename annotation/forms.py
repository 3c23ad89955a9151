"""The forms about studies."""

import ast
import inspect
import textwrap
from dataclasses import fields
from typing import Literal, get_args, get_origin

from django import forms

from annotation.errors import Invalid
from annotation.formats import FORMATS
from annotation.interfaces.registry import INTERFACES, interface


class StudyForm(forms.Form):
    """What may change at any time: the words of a study."""

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
        return forms.ChoiceField(choices=choices, initial=option.default, label=words, help_text=help_text)
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
