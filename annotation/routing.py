"""Where the socket of a study lives."""

from django.urls import path

from annotation.consumers import StudyConsumer

websocket_urlpatterns = [path("ws/studies/<int:pk>/", StudyConsumer.as_asgi())]
