"""The page: its controls, and what happens when one is moved."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from concurrent.futures import Future
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any
from urllib.parse import urlencode

import gradio as gr

from stsprune.errors import StsPruneError
from stsprune.viz.overlay import COLOUR, LIGHT

from .address import LONGEST_QUESTION, State, read_address
from .backend import Backend
from .download import write_download
from .examples import EXAMPLES
from .jobs import Job, Stopped, Worker
from .picture import SCENES, Picture, uploaded
from .wanted import Wanted

#: Seconds between two looks at a running job.
LOOK = 0.3
LEAD = (
    "What a method keeps of a picture's visual tokens, stage by stage, and what that does to the "
    "answer and its cost. Pictures stay on this machine."
)
LOG = logging.getLogger(__name__)
#: The hidden button of the file that was just written; its link is there a moment later.
_CLICK = """() => setTimeout(() => {
  const box = document.querySelector('#download-file');
  (box.matches('a, button') ? box : box.querySelector('a, button')).click();
}, 150)"""


@dataclass(frozen=True)
class Controls:
    """The components that events read or write."""

    picture: Any
    limit: Any
    scene: Any
    example: Any
    upload: Any
    question: Any
    asked: Any
    method: Any
    budget: Any
    compare: Any
    second: Any
    other: Any
    other_budget: Any
    ask: Any
    stop: Any
    download: Any
    file: Any
    notice: Any
    status: Any
    view: Any


def build_page(worker: Worker, ready: Future[Backend], name: str) -> gr.Blocks:
    """The app; `open` fills its controls when the model is ready. name: the model's."""
    with gr.Blocks(
        title="stsprune explore", analytics_enabled=False, delete_cache=(600, 3600)
    ) as page:
        controls = _lay_out(name)
        Events(worker, ready, controls).connect(page)
    return page


def _lay_out(name: str) -> Controls:
    start = State()
    gr.HTML(f"<h1>stsprune explore</h1><p>{escape(LEAD)} Model: {escape(name)}.</p>")
    example = gr.Radio([one.title for one in EXAMPLES], label="Examples", elem_id="examples")
    with gr.Row(equal_height=False):
        with gr.Column(scale=1, min_width=280, elem_id="controls"):
            with gr.Row(equal_height=True):
                scene = gr.Number(
                    0,
                    label="Drawn scene",
                    precision=0,
                    minimum=0,
                    maximum=SCENES - 1,
                    min_width=100,
                )
                upload = gr.UploadButton(
                    "Upload a picture", size="sm", min_width=100, elem_id="upload"
                )
            question = gr.Textbox(
                "", label="Question", max_length=LONGEST_QUESTION, elem_id="question"
            )
            asked = gr.Radio([], label="Questions about this scene", elem_id="asked")
            method = gr.Dropdown(
                [start.method], value=start.method, label="Method", elem_id="method"
            )
            sliding: dict[str, Any] = {"minimum": 1, "maximum": 2, "step": 1}
            budget_box = gr.Slider(
                value=1, label="Budget (tokens per layer)", elem_id="budget", **sliding
            )
            compare = gr.Checkbox(start.compare, label="Compare with another", elem_id="compare")
            with gr.Group(visible=start.compare) as second:
                other = gr.Dropdown([start.other], value=start.other, label="Second method")
                other_budget = gr.Slider(
                    value=1,
                    label="Second budget (tokens per layer)",
                    elem_id="other-budget",
                    **sliding,
                )
            with gr.Row():
                ask = gr.Button("Ask", variant="primary", size="sm", min_width=80, elem_id="ask")
                stop = gr.Button("Stop", size="sm", min_width=80, visible=False, elem_id="stop")
                download = gr.Button("Download", size="sm", min_width=80, elem_id="download")
            file = gr.DownloadButton("file", visible="hidden", elem_id="download-file")
        with gr.Column(scale=3, min_width=300):
            notice = gr.HTML(elem_id="notice")
            status = gr.HTML(elem_id="status")
            view = gr.HTML(
                None,
                html_template=part("view.html"),
                css_template=part("view.css"),
                js_on_load=part("view.js")
                .replace("@LIGHT@", str(LIGHT))
                .replace("@COLOUR@", str(COLOUR)),
                elem_id="view",
            )
    return Controls(
        picture=gr.State(None, time_to_live=3600),
        limit=gr.State(1),
        scene=scene,
        example=example,
        upload=upload,
        question=question,
        asked=asked,
        method=method,
        budget=budget_box,
        compare=compare,
        second=second,
        other=other,
        other_budget=other_budget,
        ask=ask,
        stop=stop,
        download=download,
        file=file,
        notice=notice,
        status=status,
        view=view,
    )


def part(name: str) -> str:
    """A file of this package, as text."""
    return files(__package__).joinpath(name).read_text("utf-8")


class Events:
    """What the controls do. One job per visitor: a newer one stops the one before it."""

    def __init__(self, worker: Worker, ready: Future[Backend], controls: Controls) -> None:
        self.worker, self.ready, self.c = worker, ready, controls
        self.latest: dict[str, Job] = {}

    def connect(self, page: gr.Blocks) -> None:
        """Attach every event; the caller's `with gr.Blocks()` is active."""
        c = self.c
        settings = [c.picture, c.question, c.method, c.budget, c.compare, c.other, c.other_budget]
        hidden: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        # Jobs wait for each other in the worker, not here: a newer one must be able to come in.
        running: dict[str, Any] = hidden | {
            "inputs": [*settings, c.limit],
            "outputs": [c.view, c.notice, c.status, c.stop, c.budget, c.other_budget, c.limit],
            "concurrency_limit": None,
            "trigger_mode": "multiple",
        }
        prompt = [c.picture, c.question, c.asked, c.notice]
        controls = [c.scene, c.method, c.budget, c.compare, c.second, c.other, c.other_budget]
        chosen = [
            page.load(self.open, None, [*prompt, *controls, c.limit], **hidden),
            c.scene.input(self.draw, [c.scene], [*prompt, c.example], **hidden),
            c.upload.upload(self.take, [c.upload], [*prompt, c.example], **hidden),
            c.example.input(self.show, [c.example, c.limit], [*prompt, *controls], **hidden),
        ]
        for event in chosen:
            event.then(self.follow, **running)
        c.asked.input(_same, [c.asked], [c.question], **hidden).then(self.run, **running)
        c.compare.input(_group, [c.compare], [c.second], **hidden).then(self.run, **running)
        moved = [c.method.input, c.budget.input, c.other.input, c.other_budget.input]
        gr.on([*moved, c.question.submit, c.ask.click], self.run, **running)
        c.stop.click(self.stop, None, None, queue=False, **hidden)
        c.download.click(
            self.save, [*settings, c.limit], [c.file, c.notice], concurrency_limit=None, **hidden
        ).success(None, None, None, js=_CLICK)
        page.unload(self.leave)

    # --- pictures -------------------------------------------------------------------------------

    async def open(self, request: gr.Request) -> dict[Any, Any]:
        """The address's state, once the model is ready; a scene's tokens bound the budgets."""
        c, backend = self.c, await asyncio.wrap_future(self.ready)
        names, limit = list(backend.methods), backend.tokens
        state, wrong = read_address(urlencode(dict(request.query_params)), names)
        picture = backend.draw(state.scene)
        question = state.question or picture.asked[0][0]
        budgets = [min(one or backend.budget, limit) for one in (state.budget, state.other_budget)]
        return self._asked(picture, question, wrong) | {
            c.limit: limit,
            c.scene: state.scene,
            c.method: gr.Dropdown(choices=names, value=state.method),
            c.budget: gr.Slider(maximum=limit, value=budgets[0]),
            c.compare: state.compare,
            c.second: gr.Group(visible=state.compare),
            c.other: gr.Dropdown(choices=names, value=state.other),
            c.other_budget: gr.Slider(maximum=limit, value=budgets[1]),
        }

    def draw(self, scene: float | None) -> dict[Any, Any]:
        """A drawn scene, with its first question."""
        try:
            picture = self.ready.result().draw(-1 if scene is None else int(scene))
        except StsPruneError as error:
            return {self.c.notice: problem(str(error))}
        return self._asked(picture, picture.asked[0][0]) | {self.c.example: None}

    def take(self, path: str) -> dict[Any, Any]:
        """A visitor's picture; the question stays."""
        try:
            picture = uploaded(path)
        except StsPruneError as error:
            return {self.c.notice: problem(str(error))}
        return self._asked(picture, None) | {self.c.example: None}

    def show(self, title: str, limit: int) -> dict[Any, Any]:
        """An example: scene, question, two methods at one budget."""
        c, grid = self.c, self.ready.result().grid
        example = next(one for one in EXAMPLES if one.title == title)
        budget = max(1, round(example.share * limit))
        return self._asked(example.picture(grid), example.question(grid)) | {
            c.scene: example.scene,
            c.method: example.method,
            c.budget: budget,
            c.compare: True,
            c.second: gr.Group(visible=True),
            c.other: example.other,
            c.other_budget: budget,
        }

    def _asked(
        self, picture: Picture, question: str | None, wrong: list[str] | None = None
    ) -> dict[Any, Any]:
        c, texts = self.c, [text for text, _ in picture.asked]
        chosen = question if question in texts else None
        out = {
            c.picture: picture,
            c.asked: gr.Radio(choices=texts, value=chosen, visible=bool(texts)),
            c.notice: problem(*(wrong or ())),
        }
        return out if question is None else out | {c.question: question}

    # --- runs -----------------------------------------------------------------------------------

    async def run(
        self,
        picture: Picture | None,
        question: str,
        method: str,
        budget: float,
        compare: bool,
        other: str,
        other_budget: float,
        limit: int,
        request: gr.Request,
    ) -> AsyncIterator[dict[Any, Any]]:
        """Answer with the controls as they are; progress while it lasts."""
        c = self.c
        columns = _columns(method, budget, compare, other, other_budget, limit)
        job = self._submit(picture, question, columns, request.session_hash)
        ended = asyncio.wrap_future(job.future)
        ended.add_done_callback(lambda done: done.cancelled() or done.exception())  # it was seen
        slow = False
        while not (await asyncio.wait({ended}, timeout=LOOK))[0]:
            slow = True
            yield {c.status: progress(job, self.worker.ahead(job)), c.stop: gr.Button(visible=True)}
        if self.latest.get(request.session_hash) is not job:
            # A newer one took its place. Without a value Gradio would empty every output.
            yield {c.status: gr.skip()}
            return
        out: dict[Any, Any] = {c.notice: problem(), c.status: ""}
        if slow:
            out[c.stop] = gr.Button(visible=False)
        try:
            document = ended.result()
        except Stopped:
            out[c.status] = note("Stopped: the view below is the one before.")
        except StsPruneError as error:
            out[c.status] = problem(str(error))
        except Exception as error:  # a bug or a full memory must not leave the page waiting
            LOG.exception("explore: a run failed")
            out[c.status] = problem(
                f"The run failed: {type(error).__name__}. The terminal says more."
            )
        else:
            state = _state(picture, question, columns, compare)
            out[c.view] = document | {"state": state, "serial": job.number}
            tokens = document["prompt"]["tokens"]
            if tokens != limit:
                out |= self._limit(tokens, columns)
        yield out

    async def follow(
        self,
        picture: Picture | None,
        question: str,
        method: str,
        budget: float,
        compare: bool,
        other: str,
        other_budget: float,
        limit: int,
        request: gr.Request,
    ) -> AsyncIterator[dict[Any, Any]]:
        """The same behind a choice of the picture, whose notice stays."""
        settings = (picture, question, method, budget, compare, other, other_budget, limit)
        async for update in self.run(*settings, request):
            update.pop(self.c.notice, None)
            yield update

    async def save(
        self,
        picture: Picture | None,
        question: str,
        method: str,
        budget: float,
        compare: bool,
        other: str,
        other_budget: float,
        limit: int,
        request: gr.Request,
    ) -> dict[Any, Any]:
        """The file behind `Download`: of the controls as they are."""
        columns = _columns(method, budget, compare, other, other_budget, limit)
        job = self._submit(picture, question, columns, request.session_hash)
        try:
            document = await asyncio.wrap_future(job.future)
        except Stopped:
            raise gr.Error("The download was stopped by a newer move: try again.") from None
        except StsPruneError as error:
            raise gr.Error(str(error)) from None
        path = await asyncio.to_thread(write_download, document)
        return {self.c.file: path}

    def stop(self, request: gr.Request) -> None:
        """End this visitor's job."""
        job = self.latest.get(request.session_hash or "")
        if job is not None:
            job.stop()

    def leave(self, request: gr.Request) -> None:
        """A closed page waits for nothing."""
        job = self.latest.pop(request.session_hash or "", None)
        if job is not None:
            job.stop()

    def _submit(
        self, picture: Picture | None, question: str, columns: list[Wanted], session: str | None
    ) -> Job:
        earlier = self.latest.get(session or "")
        if earlier is not None:
            earlier.stop()

        def work(job: Job) -> dict[str, Any]:
            backend = self.ready.result()  # the worker's first job
            return backend.explorer.view(picture or backend.draw(0), question, columns, job)

        job = self.worker.submit(work)
        self.latest[session or ""] = job
        return job

    def _limit(self, tokens: int, columns: list[Wanted]) -> dict[Any, Any]:
        """Sliders for a picture of another number of tokens."""
        c = self.c
        budget = gr.Slider(maximum=tokens, value=min(columns[0].budget, tokens))
        return {c.limit: tokens, c.budget: budget, c.other_budget: gr.Slider(maximum=tokens)}


def _same(text: str) -> str:
    return text


def _group(shown: bool) -> Any:
    return gr.Group(visible=shown)


def _columns(
    method: str, budget: float, compare: bool, other: str, other_budget: float, limit: int
) -> list[Wanted]:
    """The columns that the controls ask for; a budget never exceeds the picture's tokens."""
    asked = [(method, budget), (other, other_budget)]
    return [
        Wanted(name, int(min(max(tokens or 1, 1), limit))) for name, tokens in asked[: 1 + compare]
    ]


def _state(
    picture: Picture | None, question: str, columns: list[Wanted], compare: bool
) -> dict[str, str]:
    """The query of the address; an uploaded picture is not in it."""
    state = {} if picture is None or picture.scene is None else {"scene": str(picture.scene)}
    state |= {"question": question}
    state |= {"method": columns[0].method, "budget": str(columns[0].budget)}
    if compare:
        other = columns[1]
        state |= {"compare": "1", "other": other.method, "other_budget": str(other.budget)}
    return state


def progress(job: Job, ahead: int) -> str:
    """Where a job is, as HTML."""
    if ahead:
        return note(f"Waiting: {ahead} before this one.")
    step = f", {job.step}" if job.step else ""
    return note(f"{job.doing or 'Starting'}{step} ...")


def note(text: str) -> str:
    """A remark, as HTML."""
    return f'<p class="status" role="status">{escape(text)}</p>'


def problem(*lines: str) -> str:
    """What is wrong, one paragraph a line, as HTML; nothing without lines."""
    if not lines:
        return ""
    inner = "".join(f"<p>{escape(line)}</p>" for line in lines)
    return f'<div class="problem" role="alert">{inner}</div>'
