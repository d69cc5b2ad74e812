"""Bodies of forms, as browsers and clients send them: read whole, for what tests send is small."""

from io import BytesIO
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from multipart import MultipartParser, parse_options_header
from pydantic import BaseModel, ConfigDict, ValidationError


class Upload(BaseModel):
    """A file of a form."""

    model_config = ConfigDict(frozen=True)

    filename: str
    data: bytes


async def _form(request: Request) -> dict[str, Any]:
    body = await request.body()
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != "multipart/form-data":
        return dict(parse_qsl(body.decode(), keep_blank_values=True))
    parts = MultipartParser(BytesIO(body), options.get("boundary", ""))
    return {part.name: part.value if part.filename is None else Upload(filename=part.filename, data=part.raw) for part in parts}


Form = Annotated[dict[str, Any], Depends(_form)]
"""The fields of the request's form: text, or an `Upload`."""


F = TypeVar("F", bound=BaseModel)


def read(form: type[F], fields: dict[str, Any]) -> F:
    """The fields as the form wants them. Raises what becomes the framework's 422."""
    try:
        return form.model_validate(fields)
    except ValidationError as err:
        errors = err.errors(include_url=False, include_input=False)
        raise RequestValidationError([{**error, "loc": ("body", *error["loc"]), "input": None} for error in errors]) from err
