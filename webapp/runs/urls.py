"""Where the pages about runs hang."""

from django.urls import path

from webapp.runs import views

app_name = "runs"
urlpatterns = [
    path("runs/", views.every, name="all"),
    path("runs/<int:pk>/", views.page, name="run"),
    path("runs/<int:pk>/command/", views.command, name="command"),
    path("runs/<int:pk>/samples/send/", views.send_samples, name="send_samples"),
    path("runs/<int:pk>/<slug:name>/", views.part, name="part"),
    path("studies/<int:pk>/runs/", views.of_study, name="study"),
    path("studies/<int:pk>/runs/new/", views.new, name="new"),
    path("studies/<int:pk>/models/", views.models, name="models"),
    path("studies/<int:pk>/affected/", views.affected, name="affected"),
    path("studies/<int:pk>/loop/", views.loop, name="loop"),
]
