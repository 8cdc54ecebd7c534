"""HTTP endpoints: the page, tasks and images by position, answers."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from fastapi import FastAPI, Header, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field

from annotate.leases import Leases
from annotate.security import Access, Guard
from hemlets import __version__
from hemlets.annotation.answers import LONGEST_MS, Event, Kind, require_name, require_sound
from hemlets.annotation.questions import MODES
from hemlets.annotation.store import AnswerStore
from hemlets.annotation.tasks import Task, Tasks
from hemlets.core.errors import HemletsError, InputError
from hemlets.core.skeleton import JOINTS, PARTS

STATIC: Final = Path(__file__).parent / "static"

Position = Annotated[int, Query(ge=0)]

_BLOCK: Final = 500
"""Tasks that one query asks about: a long row of finished ones costs few queries."""


class Shown(BaseModel):
    """What was on screen when an answer was given."""

    model_config = ConfigDict(extra="forbid")
    session: str = Field(default="", max_length=40)
    opinion: bool = False
    zoom: float = Field(default=1.0, ge=0, le=100, allow_inf_nan=False)
    input: Literal["key", "mouse", "touch", "pen", ""] = ""
    width: int = Field(default=0, ge=0, le=20_000)


class Posted(BaseModel):
    """An event as a page sends it."""

    model_config = ConfigDict(extra="forbid")
    key: str = Field(max_length=64)
    annotator: str = Field(max_length=60)
    position: int = Field(ge=0)
    task: str = Field(max_length=64)
    kind: Kind
    question: str = Field(default="", max_length=60)
    value: str = Field(default="", max_length=64)
    elapsed_ms: int = Field(default=0, ge=0)
    shown: Shown = Shown()


def make_app(
    tasks: Tasks,
    store: AnswerStore,
    access: Access,
    *,
    votes: int = 0,
    leases: Leases | None = None,
) -> Guard:
    """Make the server's application.

    Args:
        tasks: Tasks to label.
        store: Log of answers.
        access: Permitted hosts and token.
        votes: Number of annotators per task; 0 for all.
        leases: Tasks on the screens of annotators.
    """
    leases = leases or Leases()
    app = FastAPI(title="hemlets annotate", docs_url=None, redoc_url=None, openapi_url=None)
    questions = MODES[store.mode]

    def task_at(position: int) -> Task:
        if position >= len(tasks):
            raise HTTPException(404, "There is no such image.")
        return tasks.task(position)

    def next_open(annotator: str, start: int, *, take: bool = True) -> dict[str, Any]:
        """Find the next task to label, and whether there are only tasks that others hold."""
        held = False
        for first in range(start, len(tasks), _BLOCK):
            names = tasks.names(first, first + _BLOCK)
            closed = store.closed(names, annotator, votes=votes)
            for position, name in enumerate(names, first):
                if name in closed:
                    continue
                if leases.take(name, annotator) if take else not leases.is_held(name, annotator):
                    return {"position": position, "held": False}
                held = True
        return {"position": None, "held": held}

    @app.exception_handler(HemletsError)
    async def refused(request: Request, error: HemletsError) -> JSONResponse:
        status = 400 if isinstance(error, InputError) else 404
        return JSONResponse({"detail": error.what}, status_code=status)

    @app.get("/")
    def page() -> Response:
        html = (STATIC / "index.html").read_text(encoding="utf-8")
        html = html.replace("{{page}}", access.page).replace("{{version}}", __version__)
        return Response(html, media_type="text/html", headers={"Cache-Control": "no-store"})

    @app.get("/api/setup")
    def setup() -> dict[str, Any]:
        return {
            "mode": store.mode,
            "joints": list(JOINTS),
            "bones": [[int(part.parent), int(part.child)] for part in PARTS],
            "questions": [
                {"name": q.name, "parent": int(q.parent), "child": int(q.child)} for q in questions
            ],
        }

    @app.get("/api/open")
    def open_tasks(annotator: str) -> dict[str, Any]:
        name = require_name(annotator)
        found = next_open(name, 0)
        position = found["position"]
        return {
            "annotator": name, **progress(name), **found,
            "task": None if position is None else task(position, name),
        }  # fmt: skip

    def progress(annotator: str) -> dict[str, Any]:
        return {
            "finished": store.count_finished(annotator),
            "total": len(tasks),
            "growing": tasks.growing,
        }

    @app.get("/api/next")
    def next_task(
        annotator: str, after: Annotated[int, Query(ge=-1)], ahead: bool = False
    ) -> dict[str, Any]:
        """Find the task after a position; ``ahead`` to load it only, before it is shown."""
        name = require_name(annotator)
        if not ahead:
            for left in tasks.names(max(after, 0), after + 1):
                leases.release(left, name)
        return {**next_open(name, after + 1, take=not ahead), **progress(name)}

    @app.get("/api/task")
    def task(position: Position, annotator: str) -> dict[str, Any]:
        found = task_at(position)
        state = store.state(found.name, require_name(annotator), found.asked(store.mode))
        return _shown_task(position, found) | {"state": state.to_json()}

    @app.get("/api/image")
    def image(
        position: Position, if_none_match: Annotated[str | None, Header()] = None
    ) -> Response:
        etag = f'"{task_at(position).image_key}"'
        headers = {"ETag": etag, "Cache-Control": "private, max-age=86400"}
        if if_none_match == etag:
            return Response(status_code=304, headers=headers)
        return Response(tasks.image(position), media_type="image/jpeg", headers=headers)

    @app.post("/api/answer")
    def answer(posted: Posted) -> dict[str, Any]:
        found = task_at(posted.position)
        if posted.task != _id(found):
            raise HTTPException(409, "Another image has this place now: reload the page.")
        event = Event(
            key=posted.key,
            task=found.name,
            annotator=require_name(posted.annotator),
            kind=posted.kind,
            question=posted.question,
            value=posted.value,
            elapsed_ms=min(round(posted.elapsed_ms), LONGEST_MS),
            shown=posted.shown.model_dump(),
        )
        require_sound(event, store.mode)
        added = store.add(event, found.asked(store.mode))
        shown = {"state": added.state.to_json(), "before": added.before}
        if added.state.done:
            leases.release(found.name, event.annotator)
            shown |= next_open(event.annotator, posted.position + 1)
        else:
            leases.take(found.name, event.annotator)
        return shown | progress(event.annotator)

    @app.get("/api/opinion")
    def opinion(position: Position) -> dict[str, Any]:
        found = store.opinion(task_at(position).name)
        return {"relations": None if found is None else found["relations"]}

    app.mount("/static", StaticFiles(directory=STATIC))
    return Guard(app, access)


def _shown_task(position: int, task: Task) -> dict[str, Any]:
    return {
        "position": position,
        "id": _id(task),
        "image": f"api/image?position={position}&key={task.image_key}",
        "width": task.width,
        "height": task.height,
        "box": task.box_xyxy,
        "joints": task.joints_J2.astype(float).round(2).tolist(),
        "valid": task.valid_J.tolist(),
        "found": task.found,
    }


def _id(task: Task) -> str:
    """Hash a task's name, so that the page does not reveal its source."""
    return hashlib.sha256(task.name.encode()).hexdigest()[:24]
