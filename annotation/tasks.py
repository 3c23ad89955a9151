"""What a worker does for the annotation half. Sent by name; a task that comes twice does nothing the second time."""

from celery import shared_task

from annotation import import_jobs, webhooks


@shared_task(name="annotation.import")
def import_upload(job: int) -> None:
    import_jobs.run(job)


@shared_task(name="annotation.deliver")
def deliver_letters() -> None:
    webhooks.deliver()
