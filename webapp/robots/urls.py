"""Where the pages about robots at work hang."""

from django.urls import path

from webapp.robots import views

app_name = "robots"
urlpatterns = [
    path("studies/<int:pk>/robots/", views.of_study, name="study"),
    path("robots/<int:pk>/", views.page, name="session"),
    path("robots/<int:pk>/teach/", views.teach, name="teach"),
    path("robots/<int:pk>/again/", views.again, name="again"),
    path("robots/<int:pk>/end/", views.end, name="end"),
]
