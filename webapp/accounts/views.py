"""The pages about people: signing in, one-time links, invitations, tokens, who is in a study."""

from django.contrib import messages
from django.contrib.auth import login, update_session_auth_hash
from django.contrib.auth import views as auth_views
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import PasswordChangeForm, SetPasswordForm
from django.http import JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from annotation import keys as room_keys
from annotation.access import study_for
from annotation.errors import Invalid
from annotation.models import Role
from webapp.accounts import services
from webapp.accounts.forms import InvitationForm, NewcomerForm, TokenForm
from webapp.accounts.models import ApiToken, Invitation, LoginLink

SESSION = "django.contrib.auth.backends.ModelBackend"

sign_in = auth_views.LoginView.as_view(template_name="accounts/login.html", redirect_authenticated_user=True)
sign_out = auth_views.LogoutView.as_view()


@never_cache
def enter(request, token):
    """Signs in by a one-time link. A used link still leads home whoever is already signed in."""
    user = LoginLink.redeem(token)
    if user:
        login(request, user, backend=SESSION)
    elif not request.user.is_authenticated:
        return render(request, "accounts/link_spent.html", status=410)
    wanted = request.GET.get("next", "")
    return redirect(wanted if url_has_allowed_host_and_scheme(wanted, request.get_host()) else "/")


@never_cache
@sensitive_post_parameters()
def invitation(request, token):
    """Accepts an invitation: one press for whoever is signed in, a name and a password for who is new."""
    offer = services.open_invitation(token)
    if offer is None:
        return render(request, "accounts/invitation_spent.html", status=410)
    form = NewcomerForm(
        request.POST if request.method == "POST" and not request.user.is_authenticated else None
    )
    if request.method == "POST" and (request.user.is_authenticated or form.is_valid()):
        try:
            if request.user.is_authenticated:
                services.accept_invitation(invitation=offer, user=request.user)
            else:
                newcomer = services.accept_as_newcomer(
                    invitation=offer,
                    username=form.cleaned_data["username"],
                    password=form.cleaned_data["password1"],
                )
                login(request, newcomer, backend=SESSION)
        except services.NotPossible as reason:
            return render(request, "accounts/invitation_spent.html", {"reason": reason}, status=410)
        messages.success(request, f"Welcome to {offer.study.name}.")
        return redirect("annotation:study", offer.study_id)
    return render(request, "accounts/invitation.html", {"offer": offer, "form": form})


@login_required
@never_cache
def tokens(request):
    """Lists a person's API tokens; a new one's secret is on the page that answers its making, and nowhere else."""
    form, secret = TokenForm(request.POST or None), None
    if request.method == "POST" and form.is_valid():
        _, secret = ApiToken.issue(request.user, form.cleaned_data["name"])
        form = TokenForm()
    return render(
        request,
        "accounts/tokens.html",
        {"form": form, "secret": secret, "tokens": request.user.api_tokens.live()},
    )


@login_required
@require_POST
def revoke_token(request, pk):
    token = get_object_or_404(request.user.api_tokens.live(), pk=pk)
    token.revoke()
    messages.success(
        request, f"The token “{token.name}” is revoked. Programs that use it are refused from now on."
    )
    return redirect("accounts:tokens")


@login_required
@never_cache
def keys(request):
    """A person's own keys of the labelling room: shown, changed one or many at a time, and reset."""
    problem = None
    if request.method == "POST":
        try:
            services.change_keys(user=request.user, changes=request.POST, reset="reset" in request.POST)
        except Invalid as found:
            problem = found
        if request.headers.get("Accept", "").startswith("application/json"):
            if problem:
                error = {"code": "invalid", "message": str(problem), "field": problem.field, "details": {}}
                return JsonResponse({"error": error}, status=422)
            return JsonResponse({"keys": request.user.keys})
        if problem is None:
            messages.success(request, "The keys are saved. An open labelling page has them after a reload.")
            return redirect("accounts:keys")
    rows = room_keys.table(request.user.keys)
    if problem:
        for row in rows:
            row["key"] = request.POST.get(row["action"], row["key"])
            row["problem"] = problem if row["action"] == problem.field else None
    return render(request, "accounts/keys.html", {"rows": rows}, status=422 if problem else 200)


@login_required
@sensitive_post_parameters()
def password(request):
    """Changes the password, or sets the first one for who came by a one-time link."""
    kind = PasswordChangeForm if request.user.has_usable_password() else SetPasswordForm
    form = kind(request.user, request.POST or None)
    if request.method == "POST" and form.is_valid():
        update_session_auth_hash(request, form.save())
        messages.success(
            request, "The password is set. Other browsers that were signed in as you are signed out."
        )
        return redirect("annotation:home")
    return render(request, "accounts/password.html", {"form": form})


@login_required
@never_cache
def people(request, pk):
    """Who is in a study, in which role, and the links by which more can join. Owners change it, researchers read it."""
    study = study_for(request.user, pk, role=Role.RESEARCHER)
    mine = study.memberships.get(user=request.user)
    form, link = InvitationForm(request.POST or None), None
    if request.method == "POST":
        study_for(request.user, pk, role=Role.OWNER)
        if form.is_valid():
            _, secret = Invitation.issue(study=study, created_by=request.user, **form.cleaned_data)
            link = request.build_absolute_uri(reverse("accounts:invitation", args=[secret]))
            form = InvitationForm()
    return render(
        request,
        "accounts/people.html",
        {
            "study": study,
            "mine": mine,
            "may_change": mine.role == Role.OWNER,
            "roles": Role.choices,
            "memberships": study.memberships.select_related("user").order_by("pk"),
            "invitations": study.invitations.open().select_related("created_by"),
            "form": form,
            "link": link,
        },
    )


@login_required
@require_POST
def change_member(request, pk, user_pk):
    """Gives a member another role, or with `remove` ends the membership."""
    study = study_for(request.user, pk, role=Role.OWNER)
    membership = get_object_or_404(study.memberships.select_related("user"), user_id=user_pk)
    try:
        if "remove" in request.POST:
            services.remove_member(membership=membership)
            messages.success(request, f"{membership.user} is no longer in this study. Their labels stay.")
        elif request.POST.get("role") in Role.values:
            services.change_role(membership=membership, role=request.POST["role"])
            messages.success(request, f"{membership.user} is now {membership.get_role_display().lower()}.")
        else:
            messages.error(request, f"There is no such role. Choose one of: {', '.join(Role.values)}.")
    except services.NotPossible as reason:
        messages.error(request, str(reason))
    return redirect(
        "accounts:people" if membership.user_id != request.user.pk else "annotation:study", study.pk
    )


@login_required
@require_POST
def revoke_invitation(request, pk, invitation_pk):
    study = study_for(request.user, pk, role=Role.OWNER)
    get_object_or_404(study.invitations.open(), pk=invitation_pk).revoke()
    messages.success(request, "The invitation is withdrawn. Its link opens nothing from now on.")
    return redirect("accounts:people", study.pk)
