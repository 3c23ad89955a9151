"""The HTTP API, described by itself at `/api/docs`. One way in (a token, or the session), one shape of error.

{"error": {"code": "conflict", "message": "…what happened, and what to do…", "field": null, "details": {}}}
"""

from django.http import Http404, HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError

from annotation.api import router as annotation_router
from annotation.errors import Conflict, Invalid
from webapp.accounts.auth import api_auth
from webapp.runs.api import router as runs_router

api = NinjaAPI(
    title="Kibitz",
    version="1",
    description=(
        "Studies, labels, snapshots and runs. Send `Authorization: Bearer <token>`; "
        "tokens are made on your account page."
    ),
    auth=api_auth,
)
api.add_router("", annotation_router)
api.add_router("", runs_router)


def refuse(
    request, status: int, code: str, message: str, field: str | None = None, details: dict | None = None
):
    error = {"code": code, "message": message, "field": field, "details": details or {}}
    return api.create_response(request, {"error": error}, status=status)


@api.exception_handler(Http404)
def not_found(request: HttpRequest, problem: Http404) -> HttpResponse:
    return refuse(
        request, 404, "not_found", str(problem) or "There is no such thing, or it is not yours to see."
    )


@api.exception_handler(AuthenticationError)
def unauthenticated(request: HttpRequest, problem: AuthenticationError) -> HttpResponse:
    return refuse(request, 401, "unauthenticated", "Send a valid token: `Authorization: Bearer <token>`.")


@api.exception_handler(Conflict)
def conflict(request: HttpRequest, problem: Conflict) -> HttpResponse:
    return refuse(request, 409, "conflict", str(problem), details={"holder": problem.holder})


@api.exception_handler(Invalid)
def invalid(request: HttpRequest, problem: Invalid) -> HttpResponse:
    return refuse(request, 422, "invalid", str(problem), field=problem.field)


@api.exception_handler(ValidationError)
def malformed(request: HttpRequest, problem: ValidationError) -> HttpResponse:
    first = problem.errors[0]
    place = ".".join(str(part) for part in first["loc"][1:])
    return refuse(
        request, 422, "invalid", f"{place}: {first['msg']}", field=place, details={"errors": problem.errors}
    )


@api.exception_handler(HttpError)
def refused(request: HttpRequest, problem: HttpError) -> HttpResponse:
    code = {400: "invalid", 403: "forbidden", 404: "not_found", 409: "conflict", 413: "too_large"}
    return refuse(request, problem.status_code, code.get(problem.status_code, "refused"), str(problem))
