"""The ASGI application: pages and API through Django, `/ws/` through Channels."""

import gc
import os

import django
from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")
django.setup(set_prefix=False)  # loads the apps, which the routes below need

from annotation.routing import websocket_urlpatterns as study_sockets  # noqa: E402
from webapp.robots.routing import websocket_urlpatterns as robot_sockets  # noqa: E402
from webapp.runs.routing import websocket_urlpatterns as run_sockets  # noqa: E402
from webapp.threads import Pages  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": Pages(),
        "websocket": AllowedHostsOriginValidator(
            AuthMiddlewareStack(URLRouter([*run_sockets, *study_sockets, *robot_sockets]))
        ),
    }
)

# What was loaded stays to the end: a garbage collection that walks over all of it stops every request for nothing.
gc.collect()
gc.freeze()
