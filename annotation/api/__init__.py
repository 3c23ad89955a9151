"""The HTTP API of the annotation half, an area a module."""

from ninja import Router

from annotation.api import (
    consent,
    conversation,
    gold,
    items,
    labelling,
    quality,
    recordings,
    remarks,
    review,
    snapshots,
    studies,
    webhooks,
)

router = Router()
for area in (
    gold,
    studies,
    items,
    labelling,
    conversation,
    quality,
    recordings,
    remarks,
    review,
    snapshots,
    consent,
    webhooks,
):
    router.add_router("", area.router)
