"""Tells Django about the robots app."""

from django.apps import AppConfig


class RobotsConfig(AppConfig):
    name = "webapp.robots"
    label = "robots"
    verbose_name = "Robots"
