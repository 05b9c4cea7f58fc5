"""The application: what can be asked over HTTP, and how it is answered."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from lrsl import __version__
from lrsl.errors import said
from lrsl.serving import bodies, schema
from lrsl.serving.batching import Batcher, ClosedError, Do, QueueFullError, Work
from lrsl.serving.guard import Guard
from lrsl.serving.limits import Limits, RequestError
from lrsl.serving.metrics import CONTENT_TYPE, Metrics
from lrsl.serving.served import Served

ENDPOINTS = ("/", "/page.css", "/page.js", "/rerank", "/predict", "/explain", "/health", "/metrics", "/openapi.json")
LIBRARIES = ("torch", "transformers", "sentence-transformers", "numpy", "fastapi", "uvicorn")
ABOUT = """\
Texts and a classifier's logits go in; answers come out, in which the labels of texts that the classifier hesitates on
have been ranked anew by what the labels mean. Whatever is refused is answered with `{"error": "one sentence"}`."""

_PAGE = Path(__file__).parent / "page"


def application(served: Served, limits: Limits | None = None, hosts: Collection[str] | None = None) -> FastAPI:
    """Return the application that serves a reranker, or a classifier with one.

    Its thread begins to work when the application starts up, and ends with it.

    Args:
        served: what is served.
        limits: what one client may take.
        hosts: what requests may call this server; anything where None.
    """
    limits = limits or Limits()
    batcher = Batcher(limits.batch_rows, limits.wait_ms, limits.queue_rows)
    metrics = Metrics(lambda: batcher.waiting_rows)
    batcher.seen = metrics.batch

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        batcher.start()
        try:
            yield
        finally:
            batcher.close()

    app = FastAPI(
        title=f"LRSL: {served.name}",
        version=__version__,
        description=ABOUT,
        lifespan=lifespan,
        docs_url=None,  # both load scripts from elsewhere
        redoc_url=None,
    )
    app.add_middleware(Guard, limits=limits, hosts=hosts, done=lambda path, *how: metrics.request(_known(path), *how))
    app.exception_handler(RequestError)(_refused)
    app.exception_handler(HTTPException)(_no_such)
    _add_questions(app, served, limits, _Asking(batcher, metrics, limits))
    _add_state(app, served, limits, metrics, batcher)
    _add_page(app)
    return app


class _Asking:
    """Has requests worked on and waits for them, within the time that one may take."""

    def __init__(self, batcher: Batcher, metrics: Metrics, limits: Limits) -> None:
        self.batcher, self.metrics, self.limits = batcher, metrics, limits

    async def results(self, request: Request, do: Do, asked: bodies.Asked) -> Sequence[Any]:
        """Return what is found; nothing where the client has gone.

        Raises:
            RequestError: too much is waiting, it takes too long, or it cannot be done.
        """
        if not asked.texts:
            return []
        work = Work(do, *asked)
        try:
            self.batcher.put(work)
        except QueueFullError:
            raise RequestError(503, "too many texts are waiting; try again in a moment", again=1) from None
        except ClosedError:
            raise RequestError(503, "the server is ending", again=1) from None
        found = await self._waited(request, work.done)
        self.metrics.results(found)
        return found

    async def _waited(self, request: Request, done: Future[list[Any]]) -> list[Any]:
        answer: asyncio.Future[Any] = asyncio.wrap_future(done)
        gone: asyncio.Future[Any] = asyncio.ensure_future(request.receive())
        try:
            await asyncio.wait({answer, gone}, timeout=self.limits.seconds, return_when=asyncio.FIRST_COMPLETED)
            has_gone = gone.done()
        finally:
            gone.cancel()
            answer.cancel()  # which it takes note of until its turn has come
        if answer.cancelled():
            if not has_gone:
                seconds = f"{self.limits.seconds:g} seconds"
                raise RequestError(504, f"there was no answer within {seconds}; send fewer texts at a time")
            raise RequestError(499, "the client has gone")  # as proxies note it
        try:
            found: list[Any] = answer.result()
        except ValueError as error:
            raise RequestError(422, said(error)) from None
        except ClosedError:
            raise RequestError(503, "the server is ending", again=1) from None
        except Exception:  # which the thread has noted
            raise RequestError(500, "the model failed on this; the server's log says why") from None
        return found


def _add_questions(app: FastAPI, served: Served, limits: Limits, asking: _Asking) -> None:
    whole = served.classifier is not None

    async def rerank(request: Request) -> Response:
        asked = bodies.asked(await request.body(), served.names, limits, takes=True, needs=True)
        return _json("answers", await asking.results(request, served.answers, asked), bodies.answer)

    async def predict(request: Request) -> Response:
        asked = bodies.asked(await request.body(), served.names, limits, takes=False, needs=False)
        return _json("answers", await asking.results(request, served.answers, asked), bodies.answer)

    async def explain(request: Request) -> Response:
        asked = bodies.asked(await request.body(), served.names, limits, takes=True, needs=not whole)
        found = await asking.results(request, served.explanations, asked)
        return _json("explanations", found, bodies.explanation)

    async def no_classifier(request: Request) -> Response:
        raise RequestError(404, "a reranker is served here without a classifier; send texts and logits to /rerank")

    about = "The answer to each text, whether it is hard, and its candidates with their scores before and after"
    _add(
        app,
        "/rerank",
        rerank,
        about=f"{about}, from a classifier's logits.",
        given=schema.TextsAndLogits,
        found=schema.Answers,
    )
    if whole:
        _add(app, "/predict", predict, about=f"{about}.", given=schema.Texts, found=schema.Answers)
    else:
        app.add_api_route("/predict", no_classifier, methods=["POST"], include_in_schema=False)
    why = "Why each text has its answer: hardness, threshold, candidates, and what each view makes of them."
    given = schema.TextsMaybeLogits if whole else schema.TextsAndLogits
    _add(app, "/explain", explain, about=why, given=given, found=schema.Explanations)


def _add(
    app: FastAPI,
    path: str,
    answer: Callable[[Request], Any],
    *,
    about: str,
    given: type[BaseModel],
    found: type[BaseModel],
) -> None:
    refusals = {400: "no JSON", 408: "a body that comes too slowly", 413: "too much", 415: "no JSON by its header"}
    refusals |= {422: "JSON of another form", 503: "too many requests, see Retry-After", 504: "no answer in time"}
    responses: dict[int | str, dict[str, Any]] = {
        status: {"model": schema.Error, "description": why} for status, why in refusals.items()
    }
    app.add_api_route(
        path,
        answer,
        methods=["POST"],
        summary=path[1:].capitalize(),
        description=about,
        response_description="one for each text",
        response_class=JSONResponse,
        responses={200: {"model": found}, **responses},
        openapi_extra={
            "requestBody": {"required": True, "content": {"application/json": {"schema": given.model_json_schema()}}}
        },
    )


def _add_state(app: FastAPI, served: Served, limits: Limits, metrics: Metrics, batcher: Batcher) -> None:
    about = _about(served, limits)

    async def health() -> Response:
        if not batcher.is_alive:
            raise RequestError(503, "nobody works on requests any more; start the server anew")
        return JSONResponse(about)

    async def numbers() -> Response:
        return Response(metrics.page(), media_type=CONTENT_TYPE)

    app.add_api_route(
        "/health",
        health,
        summary="Health",
        description="Whether it answers, and what is served.",
        response_class=JSONResponse,
        responses={200: {"model": schema.Health}, 503: {"model": schema.Error}},
    )
    app.add_api_route(
        "/metrics",
        numbers,
        summary="Metrics",
        description="Requests, seconds, texts, hard texts, changed answers, batches and queue, for Prometheus.",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )


def _about(served: Served, limits: Limits) -> Mapping[str, Any]:
    reranker = served.reranker
    return {
        "status": "ok",
        "name": served.name,
        "serves": "reranker" if served.classifier is None else "classifier",
        "labels": served.names,
        "k": reranker.k,
        "detector": type(reranker.rule.detector).__name__,
        "views": [type(view).__name__ for view in reranker.views],
        "on_hard": reranker.on_hard,
        "reranks": reranker.is_on,
        "verdict": reranker.report_.get("verdict", {}).get("reason"),
        "limits": {name: getattr(limits, name) for name in ("rows", "characters", "body_bytes", "seconds")},
        "versions": {
            "lrsl": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in LIBRARIES},
        },
    }


def _add_page(app: FastAPI) -> None:
    kinds = {
        "/": ("page.html", "text/html"),
        "/page.css": ("page.css", "text/css"),
        "/page.js": ("page.js", "text/javascript"),
    }
    for path, (name, kind) in kinds.items():
        app.add_api_route(path, _file(_PAGE / name, kind), include_in_schema=False, response_class=Response)


def _file(path: Path, kind: str) -> Callable[[], Any]:
    content = path.read_bytes()

    async def whole() -> Response:
        return Response(content, media_type=f"{kind}; charset=utf-8")

    return whole


def _json(key: str, found: Sequence[Any], as_data: Callable[[Any], Mapping[str, Any]]) -> Response:
    return JSONResponse({key: [as_data(one) for one in found]})


def _known(path: str) -> str:
    """Return a path by which requests are counted; clients can make up any number of others."""
    return path if path in ENDPOINTS else "other"


async def _refused(_: Request, refused: Exception) -> Response:
    assert isinstance(refused, RequestError)
    headers = {} if refused.again is None else {"Retry-After": str(refused.again)}
    return JSONResponse({"error": refused.sentence}, refused.status, headers)


async def _no_such(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    what = said(f"{request.method} {request.url.path[:100]}")
    sentence = f"{what} is nothing that can be asked here; /openapi.json lists what can"
    return JSONResponse({"error": sentence}, error.status_code, error.headers)
