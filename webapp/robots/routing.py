"""Where the socket of a session lives."""

from django.urls import path

from webapp.robots.consumers import RobotConsumer

websocket_urlpatterns = [path("ws/robots/<int:pk>/", RobotConsumer.as_asgi())]
