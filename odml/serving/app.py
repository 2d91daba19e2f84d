"""The server of the operation ``serve``: the page for people, and MLflow's scoring protocol with limits.

``POST /invocations`` takes what MLflow's own server takes as JSON and answers the same, but every request that cannot
be answered gets one line that says why: 4xx where the sender is to blame, 500 where the server is, and then the rest
in its log. All else (``/ping``, ``/health``, ``/version``) is MLflow's own application.
"""

from __future__ import annotations

import asyncio
import json
import logging
import warnings
from collections.abc import Callable
from importlib import resources
from typing import Any

import mlflow.pyfunc
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PyFuncModel, scoring_server
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from odml.drawing import html_colour
from odml.errors import ConfigurationError, first_line
from odml.serving.bad_request import BadRequestError, quoted
from odml.serving.model import DetectorModel
from odml.serving.pictures import COLUMNS

logger = logging.getLogger(__name__)

FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_JSON = "application/json"
# Nothing from elsewhere may run or be shown: the page is whole in itself, and the photo stays in the browser.
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class _Refusal(Exception):  # noqa: N818
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def load(model: str) -> PyFuncModel:
    """Load a model that MLflow has logged, by its ``models:/`` URI or its folder.

    Raises:
        ConfigurationError: there is none, or it cannot be loaded.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return mlflow.pyfunc.load_model(model)
        except (MlflowException, OSError) as error:
            reason = first_line(error)
            raise ConfigurationError(f"model: {model} cannot be loaded ({reason}); see Models in mlflow ui") from error


def build(model: PyFuncModel, *, title: str) -> Starlette:
    """Give the ASGI application that serves a loaded detector.

    Args:
        title: what the page calls the detector.
    Raises:
        ConfigurationError: the model is another one than odml logs.
    """
    detector = model.unwrap_python_model()
    if not isinstance(detector, DetectorModel):
        raise ConfigurationError(f"model: {title} is no detector of odml; name one that register has registered")
    page = resources.files("odml.serving").joinpath("page.html").read_text(encoding="utf-8")
    about = _about(detector, title)

    async def show_page(request: Request) -> Response:
        return Response(page, media_type="text/html", headers=_PAGE_HEADERS)

    async def show_about(request: Request) -> Response:
        return Response(about, media_type=_JSON)

    async def invocations(request: Request) -> Response:
        try:
            body = await _body(request, detector.limits.max_request_bytes)
            # A few more threads than processors, as in MLflow's server: more pictures at once would only take memory.
            return await asyncio.to_thread(_answered, detector, body)
        except _Refusal as refusal:
            return _error(refusal.status, str(refusal))
        except ClientDisconnect:
            return Response(status_code=400)

    routes = [
        Route("/", show_page),
        Route("/about", show_about),
        Route("/invocations", invocations, methods=["POST"]),
        Mount("/", app=scoring_server.init(model)),
    ]
    return Starlette(routes=routes)


def _about(detector: DetectorModel, title: str) -> str:
    """Say what the page needs to know: the classes with their colours, as drawn pictures have them."""
    names = detector.label_map.names
    classes = [{"name": name, "colour": html_colour(class_id)} for class_id, name in enumerate(names, start=1)]
    return json.dumps({"title": title, "classes": classes, "max_image_bytes": detector.limits.max_image_bytes})


async def _body(request: Request, most: int) -> bytes:
    """Read a request's body, and no more of it than is allowed."""
    kind = request.headers.get("content-type", "")
    media, *options = (part.strip().lower() for part in kind.split(";"))
    if media != _JSON:
        raise _Refusal(415, f"Content-Type: {quoted(kind)} is not {_JSON}; send JSON under that type")
    if any(each.startswith("charset=") and each.replace('"', "") != "charset=utf-8" for each in options):
        raise _Refusal(415, f"Content-Type: {quoted(kind)} is not UTF-8; send UTF-8")
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > most:
            raise _Refusal(413, f"body: has more than {most} bytes; send fewer or smaller pictures in a request")
        pieces.append(piece)
    return b"".join(pieces)


def _answered(detector: DetectorModel, body: bytes) -> Response:
    try:
        rows, params = _parsed(body)
        return Response(json.dumps({"predictions": detector.answer(rows, params)}), media_type=_JSON)
    except BadRequestError as error:
        return _error(400, error.message)
    except Exception:
        logger.exception("a request failed")
        return _error(500, "the server failed at this request; its log says why")


def _parsed(body: bytes) -> tuple[list[dict[str, Any]], Any]:
    """Give the rows of a request, by any of MLflow's four forms, and its parameters."""
    try:
        content = json.loads(body.decode())
    except RecursionError:
        raise BadRequestError("body: is JSON of too many levels; see the documentation of the requests") from None
    except ValueError as error:
        raise BadRequestError(f"body: is no JSON ({first_line(error)}); send a JSON object") from None
    if not isinstance(content, dict):
        raise BadRequestError(f"body: is {_kind(content)}, no object; send one with one of {', '.join(FORMS)}")
    if unknown := [name for name in content if name not in (*FORMS, "params")]:
        raise BadRequestError(f"body: there is no {quoted(unknown[0])}; send one of {', '.join(FORMS)}, and params")
    forms = [name for name in FORMS if name in content]
    if len(forms) != 1:
        raise BadRequestError(f"body: has {' and '.join(forms) or 'no rows'}; send one of {', '.join(FORMS)}")
    rows = _ROWS[forms[0]](content[forms[0]], forms[0])
    for number, row in enumerate(rows, start=1):
        if unknown := [name for name in row if name not in COLUMNS]:
            raise BadRequestError(
                f"row {number} of {len(rows)}: there is no column {quoted(unknown[0])}; send {', '.join(COLUMNS)}"
            )
    return rows, content.get("params")


def _split(value: Any, form: str) -> list[dict[str, Any]]:
    if not isinstance(value, dict) or not isinstance(value.get("data"), list):
        raise BadRequestError(f'{form}: is no table; send {{"columns": ["image"], "data": [["..."]]}}')
    columns = value.get("columns", ["image"])
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        raise BadRequestError(f"{form}: columns are no list of names; send some of {', '.join(COLUMNS)}")
    for number, row in enumerate(value["data"], start=1):
        if not isinstance(row, list) or len(row) != len(columns):
            count = f"{len(row)} values" if isinstance(row, list) else _kind(row)
            raise BadRequestError(
                f"row {number} of {len(value['data'])}: is {count}; send a list of {len(columns)}, one a column"
            )
    return [dict(zip(columns, row, strict=True)) for row in value["data"]]


def _listed(value: Any, form: str) -> list[dict[str, Any]]:
    """Take a list of rows, or of the values of the only column that needs no name."""
    if isinstance(value, dict) and form == "inputs":
        return _of_columns(value)
    if not isinstance(value, list):
        raise BadRequestError(f'{form}: is {_kind(value)}, no list; send [{{"image": "..."}}]')
    rows = value if form == "dataframe_records" else [{"image": row} if isinstance(row, str) else row for row in value]
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise BadRequestError(f'row {number} of {len(rows)}: is {_kind(row)}; send {{"image": "..."}}')
    return rows


def _of_columns(columns: dict[str, Any]) -> list[dict[str, Any]]:
    lists = {name: value if isinstance(value, list) else [value] for name, value in columns.items()}
    if len({len(values) for values in lists.values()}) > 1:
        raise BadRequestError("inputs: the columns are not of one length; send as many values in each")
    return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]


_ROWS: dict[str, Callable[[Any, str], list[dict[str, Any]]]] = dict.fromkeys(FORMS, _listed) | {
    "dataframe_split": _split
}
_KINDS = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}


def _kind(value: object) -> str:
    return _KINDS.get(type(value), "a number")


def _error(status: int, message: str) -> Response:
    code = "INTERNAL_ERROR" if status >= 500 else "BAD_REQUEST"
    return Response(json.dumps({"error_code": code, "message": message}), status_code=status, media_type=_JSON)
