"""What a worker does for the annotation half. Sent by name; a task that comes twice does nothing the second time."""

from celery import shared_task

from annotation import importers


@shared_task(name="annotation.import")
def import_upload(job: int) -> None:
    importers.run(job)
