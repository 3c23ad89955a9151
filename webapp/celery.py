"""The Celery application. Tasks live with what they are about, and are sent by name."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")

app = Celery(
    "kibitz",
    include=[
        "trainers.tasks",
        "annotation.tasks",
        "webapp.runs.chat",
        "webapp.runs.ranking",
        "webapp.robots.tasks",
    ],
)
app.config_from_object("django.conf:settings", namespace="CELERY")
