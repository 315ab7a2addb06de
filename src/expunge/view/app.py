"""The pages and what they ask for: for this machine alone, with a secret in every address."""

import json
import secrets
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import iterate_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import expunge
from expunge.errors import InputError
from expunge.view.chat import LONGEST_PROMPT, NEW_TOKENS, Chat
from expunge.view.run import ViewedRun

HOSTS = ["127.0.0.1", "localhost"]
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; frame-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
REPORT_POLICY = "frame-ancestors 'self'"  # the report has its own, with a digest of its script
HEADERS = {
    "cache-control": "no-store",  # what was to be forgotten is not for the browser's disk
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
LARGEST_MESSAGE = 1_000_000  # bytes


class _Headers:
    """Every answer carries the headers that keep it on this page."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.decode().lower() for name, _ in message["headers"]}
                extra = {"content-security-policy": POLICY, **HEADERS}
                message["headers"] += [(k.encode(), v.encode()) for k, v in extra.items() if k not in given]
            await send(message)

        await self._app(scope, receive, with_headers)


def application(run: ViewedRun, token: str) -> Starlette:
    """The application of one run; everything lies below `/<token>/`.

    Args:
        run: what is shown.
        token: drawn for this session; who does not have it gets nothing.
    """
    chat = Chat(run.target, run.folder)
    templates = Environment(loader=PackageLoader("expunge.view"), autoescape=True, undefined=StrictUndefined)

    def page(request: Request) -> Response:
        text = templates.get_template("view.html.j2").render(
            name=run.name,
            hidden=run.hidden,
            target=run.target,
            version=expunge.__version__,
            new_tokens=NEW_TOKENS,
            longest=LONGEST_PROMPT,
        )
        return HTMLResponse(text)

    def report(request: Request) -> Response:
        return HTMLResponse(run.report(), headers={"content-security-policy": REPORT_POLICY})

    def rows(request: Request) -> Response:
        asked = request.query_params
        start = asked.get("start", "0")
        return JSONResponse(run.rows(asked.get("q", ""), asked.get("set", ""), int(start) if start.isdigit() else 0))

    def plot(request: Request) -> Response:
        svg = run.plot()
        return Response(status_code=204) if svg is None else Response(svg, media_type="image/svg+xml")

    async def ask(request: Request) -> Response:
        if run.hidden:
            return JSONResponse({"error": "The run is shown redacted: there is no chat."}, 403)
        try:
            prompt, history = _conversation(await _message(request))
        except InputError as error:
            return JSONResponse({"error": str(error)}, 400)
        stopped = threading.Event()
        answers = chat.answers(prompt, history, stopped)

        async def events() -> AsyncIterator[str]:
            try:
                async for event in iterate_in_threadpool(answers):
                    yield json.dumps(event) + "\n"
            finally:  # also where the reader has left
                stopped.set()
                threading.Thread(target=answers.close).start()  # it waits for the token under way

        return StreamingResponse(events(), media_type="application/x-ndjson")

    page_css = files("expunge.report").joinpath("templates", "page.css").read_text(encoding="utf-8")
    of_view = files("expunge.view").joinpath("templates")
    assets = {
        "view.css": (page_css + of_view.joinpath("view.css").read_text(encoding="utf-8"), "text/css"),
        "view.js": (of_view.joinpath("view.js").read_text(encoding="utf-8"), "text/javascript"),
    }
    routes = [
        Route("/", page),
        Route("/report", report),
        Route("/rows", rows),
        Route("/plot.svg", plot),
        Route("/chat", ask, methods=["POST"]),
        *(Route(f"/{name}", _asset(*asset)) for name, asset in assets.items()),
    ]
    return Starlette(
        routes=[Mount("/{token}", routes=routes, middleware=[Middleware(_Secret, token=token)])],
        middleware=[Middleware(_Headers), Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False)],
        exception_handlers={InputError: _explain},
    )


class _Secret:
    """Nothing is there for who does not know the secret part of the address."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if secrets.compare_digest(scope["path_params"]["token"].encode(), self._token.encode()):
            await self._app(scope, receive, send)
        else:
            await PlainTextResponse("Not Found", 404)(scope, receive, send)


def _asset(text: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
    async def send(request: Request) -> Response:
        return Response(text, media_type=kind)

    return send


def _explain(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 400)


async def _message(request: Request) -> Any:
    """The JSON of a request.

    Raises:
        InputError: it is not JSON, or more than anybody types.
    """
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_MESSAGE:
            raise InputError("The conversation is too long. Begin a new one.")
    try:
        return json.loads(body)
    except ValueError:
        raise InputError("The message is not JSON.") from None


def _conversation(message: Any) -> tuple[str, list[Mapping[str, str]]]:
    """Prompt and earlier turns.

    Raises:
        InputError: it is not of that form.
    """
    prompt = message.get("prompt") if isinstance(message, dict) else None
    history = message.get("history", []) if isinstance(message, dict) else None
    if not isinstance(prompt, str) or not prompt.strip():
        raise InputError("There is no prompt.")
    if len(prompt) > LONGEST_PROMPT:
        raise InputError(f"The prompt has {len(prompt)} characters; {LONGEST_PROMPT} are the most.")
    if not isinstance(history, list) or not all(_is_turn(past) for past in history):
        raise InputError("The earlier turns are not in the form that they are sent in.")
    return prompt, history


def _is_turn(past: Any) -> bool:
    return (
        isinstance(past, dict)
        and isinstance(past.get("prompt"), str)
        and all(isinstance(t, str) for t in past.values())
    )
