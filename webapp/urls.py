"""Every address of the site. Each app names its own; this file says where they hang."""

from django.urls import include, path

from webapp.api import api

handler404 = "webapp.api.no_such_address"
urlpatterns = [
    path("", include("webapp.accounts.urls")),
    path("api/", api.urls),
    path("", include("webapp.robots.urls")),
    path("", include("webapp.runs.urls")),
    path("", include("annotation.urls")),
]
