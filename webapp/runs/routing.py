"""Where the socket lives."""

from django.urls import path

from webapp.runs.consumers import StreamConsumer

websocket_urlpatterns = [path("ws/", StreamConsumer.as_asgi())]
