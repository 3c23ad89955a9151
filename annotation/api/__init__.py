"""The HTTP API of the annotation half, an area a module."""

from ninja import Router

from annotation.api import items, labelling, snapshots, studies

router = Router()
for area in (studies, items, labelling, snapshots):
    router.add_router("", area.router)
