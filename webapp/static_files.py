"""Static files travel compressed: a labelling page would weigh 160 kB, and weighs less than half.

Pages and answers of the API are left as they are. They hold secrets beside what others wrote, and the size of the two
compressed together can give a secret away (BREACH); a static file is the same for everybody.
"""

import gzip
from functools import lru_cache

from django.conf import settings
from django.http import HttpResponse
from django.utils.cache import patch_vary_headers

TEXTS = ("text/", "application/json", "image/svg+xml")
SMALLEST = 200
"""Below this a file does not get smaller."""


def compress_static(get_response):
    """Middleware: stands before the one that serves the files. Each version of a file is compressed once."""

    def middleware(request):
        response = get_response(request)
        if not request.path.startswith(f"/{settings.STATIC_URL.strip('/')}/") or response.status_code != 200:
            return response
        if not response.get("Content-Type", "").startswith(TEXTS) or response.has_header("Content-Encoding"):
            return response
        patch_vary_headers(response, ["Accept-Encoding"])
        if request.method != "GET" or "gzip" not in request.headers.get("Accept-Encoding", ""):
            return response
        content = b"".join(response.streaming_content) if response.streaming else response.content
        return _compressed(response, content)

    return middleware


def _compressed(response, content: bytes) -> HttpResponse:
    sent = HttpResponse(_gzip(content) if len(content) >= SMALLEST else content)
    for name, value in response.items():
        if name.lower() != "content-length":
            sent[name] = value
    if len(content) >= SMALLEST:
        sent["Content-Encoding"] = "gzip"
        if sent.has_header("ETag"):  # the bytes differ, what they say does not
            sent["ETag"] = f"W/{sent['ETag'].removeprefix('W/')}"
    sent["Content-Length"] = str(len(sent.content))
    # Closing the old answer itself would tell Django that the request is over, and it is not.
    sent._resource_closers.extend(response._resource_closers)
    return sent


@lru_cache(maxsize=128)
def _gzip(content: bytes) -> bytes:
    return gzip.compress(content, compresslevel=6, mtime=0)
