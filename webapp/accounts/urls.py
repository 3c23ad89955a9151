"""The addresses of the pages about people."""

from django.urls import path

from webapp.accounts import views

app_name = "accounts"
urlpatterns = [
    path("accounts/login/", views.sign_in, name="login"),
    path("accounts/logout/", views.sign_out, name="logout"),
    path("accounts/enter/<str:token>/", views.enter, name="enter"),
    path("accounts/invitations/<str:token>/", views.invitation, name="invitation"),
    path("accounts/password/", views.password, name="password"),
    path("accounts/keys/", views.keys, name="keys"),
    path("accounts/tokens/", views.tokens, name="tokens"),
    path("accounts/tokens/<int:pk>/revoke/", views.revoke_token, name="revoke_token"),
    path("studies/<int:pk>/people/", views.people, name="people"),
    path("studies/<int:pk>/people/<int:user_pk>/", views.change_member, name="change_member"),
    path(
        "studies/<int:pk>/people/invitations/<int:invitation_pk>/revoke/",
        views.revoke_invitation,
        name="revoke_invitation",
    ),
]
