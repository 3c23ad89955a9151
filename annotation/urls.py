"""The addresses of the pages about studies, and of the labelling room."""

from django.urls import path

from annotation import label_views, views

app_name = "annotation"
urlpatterns = [
    path("", views.home, name="home"),
    path("guidelines/preview/", views.preview, name="preview"),
    path("studies/new/", views.new_study, name="new"),
    path("studies/<int:pk>/", views.study, name="study"),
    path("studies/<int:pk>/settings/", views.settings, name="settings"),
    path("studies/<int:pk>/archive/", views.archive, name="archive"),
    path("studies/<int:pk>/imports/", views.imports, name="imports"),
    path("imports/<int:pk>/", views.import_job, name="import_job"),
    path("studies/<int:pk>/freeze/", views.freeze_labels, name="freeze"),
    path("snapshots/<int:pk>/", views.snapshot, name="snapshot"),
    path("snapshots/<int:pk>/<slug:format>.jsonl", views.download, name="download"),
    path("studies/<int:pk>/label/", label_views.label, name="label"),
    path("studies/<int:pk>/label/next/", label_views.next_tasks, name="next"),
    path("studies/<int:pk>/label/undo/", label_views.undo, name="undo"),
    path("studies/<int:pk>/label/heartbeat/", label_views.heartbeat, name="heartbeat"),
    path("tasks/<int:pk>/submit/", label_views.submit, name="submit"),
    path("tasks/<int:pk>/skip/", label_views.skip, name="skip"),
]
