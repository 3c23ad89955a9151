"""The addresses of the pages about studies, and of the labelling room."""

from django.urls import path

from annotation.views import label, studies

app_name = "annotation"
urlpatterns = [
    path("", studies.home, name="home"),
    path("guidelines/preview/", studies.preview, name="preview"),
    path("studies/new/", studies.new_study, name="new"),
    path("studies/<int:pk>/", studies.study, name="study"),
    path("studies/<int:pk>/settings/", studies.settings, name="settings"),
    path("studies/<int:pk>/archive/", studies.archive, name="archive"),
    path("studies/<int:pk>/imports/", studies.imports, name="imports"),
    path("imports/<int:pk>/", studies.import_job, name="import_job"),
    path("studies/<int:pk>/freeze/", studies.freeze_labels, name="freeze"),
    path("snapshots/<int:pk>/", studies.snapshot, name="snapshot"),
    path("snapshots/<int:pk>/<slug:format>.jsonl", studies.download, name="download"),
    path("studies/<int:pk>/label/", label.label, name="label"),
    path("studies/<int:pk>/label/next/", label.next_tasks, name="next"),
    path("studies/<int:pk>/label/undo/", label.undo, name="undo"),
    path("studies/<int:pk>/label/heartbeat/", label.heartbeat, name="heartbeat"),
    path("tasks/<int:pk>/submit/", label.submit, name="submit"),
    path("tasks/<int:pk>/skip/", label.skip, name="skip"),
]
