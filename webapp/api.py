"""The HTTP API, described by itself at `/api/docs`. One way in (a token, or the session), one shape of error.

{"error": {"code": "conflict", "message": "…what happened, and what to do…", "field": null, "details": {}}}
"""

from http import HTTPStatus
from typing import Any, Literal

from django.core.exceptions import RequestDataTooBig, TooManyFieldsSent, TooManyFilesSent
from django.http import Http404, HttpRequest, HttpResponse
from django.http.multipartparser import MultiPartParserError
from django.views.defaults import page_not_found
from ninja import Field, NinjaAPI, Schema
from ninja.errors import AuthenticationError, HttpError, ValidationError
from ninja.openapi.schema import REF_TEMPLATE, OpenAPISchema

from annotation.api import router as annotation_router
from annotation.errors import Conflict, Invalid
from webapp.accounts.auth import api_auth
from webapp.robots.api import router as robots_router
from webapp.runs.api import router as runs_router
from webapp.strict_parser import StrictParser


class Error(Schema):
    code: Literal[
        "invalid", "unauthenticated", "forbidden", "not_found", "conflict", "too_large", "refused"
    ] = Field(description="For programs.")
    message: str = Field(description="For people: what happened, and what to do.")
    field: str | None = Field(description="Which part of what was sent to mend, where it is one.")
    details: dict[str, Any] = Field(description="Of a conflict: the `holder`, who was faster.")


class Refused(Schema):
    error: Error


class StudioAPI(NinjaAPI):
    """Describes, beside what each operation answers, every way in which it may refuse."""

    def get_openapi_schema(self, **asked: Any) -> OpenAPISchema:
        schema = super().get_openapi_schema(**asked)
        refused = Refused.model_json_schema(ref_template=REF_TEMPLATE)
        schema["components"]["schemas"] |= {**refused.pop("$defs"), "Refused": refused}
        content = {"application/json": {"schema": {"$ref": REF_TEMPLATE.format(model="Refused")}}}
        for operations in schema["paths"].values():
            for method, operation in operations.items():
                for status in refusals(method, operation):
                    words = HTTPStatus(status).phrase
                    operation["responses"][status] = {"description": words, "content": content}
        return schema


def refusals(method: str, operation: dict) -> set[int]:
    """How an operation may refuse, by what it takes."""
    found = {401}
    if operation["parameters"]:
        found |= {404, 409, 422}  # it is not there, it stands otherwise, it is asked for wrongly
    if method != "get":
        found |= {403, 404, 409, 422}  # 403: a browser's session without its CSRF token
    if "requestBody" in operation:
        found |= {400, 413}
    return found


api = StudioAPI(
    parser=StrictParser(),
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
api.add_router("", robots_router)


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


def no_such_address(request: HttpRequest, exception: Exception) -> HttpResponse:
    """What the site answers where no address fits: below /api/ in the shape of the API, elsewhere as a page."""
    if request.path.startswith("/api/"):
        return refuse(request, 404, "not_found", "There is no such address. /api/docs lists those there are.")
    return page_not_found(request, exception)


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


@api.exception_handler(RequestDataTooBig)
@api.exception_handler(TooManyFieldsSent)
@api.exception_handler(TooManyFilesSent)
def too_large(request: HttpRequest, problem: Exception) -> HttpResponse:
    return refuse(request, 413, "too_large", f"{problem} Send less at once, or import a file.")


@api.exception_handler(MultiPartParserError)
def broken_form(request: HttpRequest, problem: MultiPartParserError) -> HttpResponse:
    return refuse(request, 400, "invalid", f"The form cannot be read: {problem}")


@api.exception_handler(HttpError)
def refused(request: HttpRequest, problem: HttpError) -> HttpResponse:
    why = problem.__cause__  # why a body could not be parsed
    if isinstance(why, Invalid):
        return invalid(request, why)
    message = f"{problem}: {type(why).__name__}: {why}" if why else str(problem)
    code = {400: "invalid", 403: "forbidden", 404: "not_found", 409: "conflict", 413: "too_large"}
    return refuse(request, problem.status_code, code.get(problem.status_code, "refused"), message)
