"""The forms about people: a new account, an invitation, a token."""

from django import forms
from django.contrib.auth import get_user_model
from django.contrib.auth.forms import BaseUserCreationForm

from annotation.models import Role


class NewcomerForm(BaseUserCreationForm):
    """A name and a password: all that joining a study asks for."""

    class Meta:
        model = get_user_model()
        fields = ["username"]

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.fields["username"].label = "Your name here"
        self.fields["username"].help_text = "Letters, digits and @ . + - _. Others in the study see it."
        self.fields["username"].widget.attrs.update(autocomplete="username", autofocus=True)
        self.fields[
            "password1"
        ].help_text = "At least 10 characters, not a common password, not like your name."
        self.fields["password2"].label = "The password again"
        self.fields["password2"].help_text = ""


class InvitationForm(forms.Form):
    role = forms.ChoiceField(choices=Role.choices, initial=Role.ANNOTATOR, label="As")
    uses = forms.IntegerField(min_value=1, max_value=1000, initial=1, label="For how many people")
    days = forms.IntegerField(min_value=1, max_value=365, initial=14, label="Good for days")


class TokenForm(forms.Form):
    name = forms.CharField(
        max_length=100,
        label="What is it for",
        widget=forms.TextInput(attrs={"placeholder": "import script on the lab machine"}),
    )
