"""The page in a real browser: what is on it is what the library says, for every control."""

from __future__ import annotations

import base64
import io
import os
import re
import socket
import statistics
import struct
import zlib
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from explore_server import ENVIRONMENT, cpu_seconds, crowded, run_explore
from PIL import Image

import stsprune
from stsprune.explore.explorer import Explorer
from stsprune.explore.jobs import Job
from stsprune.explore.picture import drawn, scene_grid
from stsprune.explore.wanted import Wanted
from stsprune.viz import dim_dropped

SLIDER = "#budget input[type=range]"


@pytest.fixture(scope="module")
def library():
    """library(scene, method, budget, question=None) -> the view that the page should show."""
    model, processor = stsprune.load_embedded()
    explorer = Explorer(model, processor, "embedded")

    def view(scene, method, budget, question=None):
        picture = drawn(scene, scene_grid(model))
        asked = question or picture.asked[0][0]
        return explorer.view(picture, asked, [Wanted(method, budget)], Job(0))

    return view


def settled(page, budget, column=0, method=None):
    """Wait until a column shows that budget (and method)."""
    wanted = f'[data-budget="{budget}"]' + (f'[data-method="{method}"]' if method else "")
    page.locator(f".side >> nth={column}").and_(page.locator(f".side{wanted}")).wait_for()


def query(page):
    return {key: value[0] for key, value in parse_qs(urlsplit(page.url).query).items()}


def canvas_pixels(page, column=0):
    source = page.locator("canvas").nth(column).evaluate("canvas => canvas.toDataURL()")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))).convert("RGB"))


def set_layer(page, at):
    page.locator("#layers").fill(str(at))


# --- the main path ------------------------------------------------------------------------------


def test_the_first_view_is_what_the_library_gives(visit, library):
    page = visit()
    state = query(page)
    assert (state["scene"], state["method"], state["at"]) == ("0", "sts", "1")
    view = library(0, "sts", int(state["budget"]))
    column, prompt = view["columns"][0], view["prompt"]
    assert page.title() == "stsprune explore"
    assert page.locator(".asked").inner_text() == f"{prompt['question']} about scene 0"
    answers = page.locator(".answers dd").all_inner_texts()
    right = "✓" if column["answer"] == prompt["truth"] else "✗"
    assert answers[0] == f"{column['answer']} {right}"
    assert answers[1].split()[0] == prompt["answer"]
    assert answers[2] == prompt["truth"]
    cost = page.locator(".cost tbody tr").all_inner_texts()
    assert cost[0].split("\t")[1:] == [
        str(prompt["tokens"]),
        f"{column['average']:.1f}",
        f"{100 * column['token_ratio']:.0f} %",
    ]
    assert f"{column['kv_bytes'] / 1000:.1f} kB" in cost[2]


def test_the_slider_goes_through_all_layers(visit, library):
    page = visit("?scene=4&method=sts&budget=16&at=0")
    column = library(4, "sts", 16)["columns"][0]
    assert "All" in page.locator(".holds").inner_text()
    depth = len(column["per_layer"])
    assert page.locator("#layers").get_attribute("max") == str(depth)
    deciding = {stage["layer"]: stage["kept"] for stage in column["stages"]}
    for at in range(1, depth + 1):
        set_layer(page, at)
        text = page.locator(".holds").inner_text()
        assert text.startswith(f"Holds {column['per_layer'][at - 1]} of ")
        if at - 1 in deciding:
            assert f"keeps {deciding[at - 1]}" in text
        assert query(page)["at"] == str(at)


def test_the_picture_shows_the_kept_tokens(visit, library):
    page = visit("?scene=4&method=sts&budget=16&at=1")
    view = library(4, "sts", 16)
    grid = tuple(view["prompt"]["picture"]["grid"])
    source = view["prompt"]["picture"]["source"].split(",")[1]
    seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(source))).convert("RGB"))
    pixels = canvas_pixels(page).astype(int)

    def difference(cells):
        return np.abs(pixels - dim_dropped(seen, cells, grid).astype(int)).mean()

    kept = view["columns"][0]["stages"][0]["cells"]
    others = sorted(set(range(grid[0] * grid[1])) - set(kept))
    assert difference(kept) < 3
    assert difference(others[: len(kept)]) > 8  # the control: other tokens look otherwise


def test_the_token_under_the_pointer(visit, library):
    page = visit("?scene=4&method=sts&budget=16")
    view = library(4, "sts", 16)
    (rows, columns), stages = view["prompt"]["picture"]["grid"], view["columns"][0]["stages"]
    stage = next(stage for stage in stages if stage["scores"])
    set_layer(page, stage["layer"] + 1)
    dropped = next(cell for cell in stage["scored"] if cell not in stage["cells"])
    never = next(cell for cell in range(rows * columns) if cell not in stages[0]["cells"])
    canvas = page.locator("canvas")
    box = canvas.bounding_box()
    for cell, says in (
        (dropped, f"dropped by {stage['name']} at layer {stage['layer']}"),
        (never, f"dropped by {stages[0]['name']}, before the decoder"),
    ):
        row, column = divmod(cell, columns)
        where = {
            "x": (column + 0.5) / columns * box["width"],
            "y": (row + 0.5) / rows * box["height"],
        }
        canvas.hover(position=where)
        text = page.locator(".token").inner_text()
        assert text.startswith(f"Token in row {row + 1}, column {column + 1}:")
        assert says in text
        if cell == dropped:
            score = stage["scores"][stage["scored"].index(cell)]
            told = float(re.search(r"score (\S+),", text)[1])
            assert told == pytest.approx(score, rel=0.02, abs=1e-4)
        else:
            assert "not scored" in text


def test_scores_as_a_heat_map(visit, library):
    page = visit("?scene=4&method=sts&budget=16")
    stage = next(s for s in library(4, "sts", 16)["columns"][0]["stages"] if s["scores"])
    set_layer(page, stage["layer"] + 1)
    plain = canvas_pixels(page)
    page.locator("#heat").check()
    assert query(page)["heat"] == "1"
    assert np.abs(canvas_pixels(page).astype(int) - plain).mean() > 1
    legend = page.locator(".legend").inner_text()
    low, high = (float(number) for number in re.findall(r"^[\d.e-]+|(?<=\n)[\d.e-]+", legend)[:2])
    assert low == pytest.approx(min(stage["scores"]), rel=0.02, abs=1e-4)
    assert high == pytest.approx(max(stage["scores"]), rel=0.02)
    set_layer(page, 1)
    assert "No scores here" in page.locator(".legend").inner_text()


def test_probabilities_that_changed(visit, library):
    """At one token the answer goes wrong, or nearly: the table says by how much."""
    page = visit("?scene=0&method=grid&budget=2")
    column = library(0, "grid", 2)["columns"][0]
    moved = [one for one in column["changes"] if one["moved"] >= 0.005]
    assert moved  # else another scene must be taken
    rows = page.locator(".changes tbody tr").all_inner_texts()
    first = moved[0]["candidates"][0]
    name, before, after, _ = rows[0].split("\t")
    assert name == f"{moved[0]['place'] + 1}. {first['token']}"
    for text, share in ((before, first["before"]), (after, first["after"])):
        assert float(text.split()[0]) == pytest.approx(100 * share, abs=0.6)
    assert len(rows) == sum(len(one["candidates"]) for one in moved)


def test_a_second_column(visit, library):
    page = visit()
    page.get_by_label("Compare with another").check()
    page.locator(".side >> nth=1").wait_for()
    page.get_by_label("Second method").click()
    page.get_by_role("option", name="grid", exact=True).click()
    budget = query(page)["other_budget"]
    settled(page, budget, 1, "grid")
    told = library(0, "grid", int(budget))["columns"][0]
    assert page.locator(".holds").nth(1).inner_text().startswith(f"Holds {told['per_layer'][0]} of")
    assert query(page)["other"] == "grid"
    page.get_by_label("Compare with another").uncheck()
    page.locator(".sides.single").wait_for()
    assert page.locator(".side").count() == 1
    assert "compare" not in query(page)


def test_examples_and_questions(visit, library):
    page = visit()
    page.get_by_label("Counting").check()
    page.locator(".side >> nth=1").wait_for()
    state = query(page)
    assert state["scene"] == "5"
    assert "how many" in page.locator("#question textarea").input_value()
    another = page.locator("#asked label").last
    text = another.inner_text()
    another.click()
    page.locator(".asked strong", has_text=text).wait_for()
    assert query(page)["question"] == text
    page.get_by_label("Drawn scene").fill("11")
    page.locator(".asked", has_text="scene 11").wait_for()
    assert query(page)["question"] == library(11, "sts", 9)["prompt"]["question"]


def test_a_question_of_the_visitor(visit, library):
    page = visit()
    box = page.locator("#question textarea")
    box.fill("what is the background?")
    box.press("Enter")
    page.locator(".asked", has_text="background").wait_for()
    told = library(0, "sts", int(query(page)["budget"]), "what is the background?")
    assert page.locator(".answers dd").first.inner_text().split()[0] == told["columns"][0]["answer"]


# --- the address --------------------------------------------------------------------------------


def test_an_address_shows_the_same_view_to_another_visitor(visit):
    page = visit(
        "?scene=6&method=tome&budget=20&compare=1&other=divprune&other_budget=12&heat=1&at=3"
    )
    settled(page, 20, 0, "tome")
    settled(page, 12, 1, "divprune")
    page.locator(SLIDER).focus()
    page.keyboard.press("ArrowRight")
    settled(page, 21)
    other = visit("?" + urlsplit(page.url).query)
    settled(other, 21, 0, "tome")
    settled(other, 12, 1, "divprune")
    assert other.locator("#layers").input_value() == "3"
    assert other.locator("#heat").is_checked()
    assert query(other) == query(page)
    assert other.locator(SLIDER).input_value() == "21"
    assert np.array_equal(canvas_pixels(other), canvas_pixels(page))


def test_an_address_that_makes_no_sense(visit):
    page = visit("?scene=cat&method=<b>best</b>&budget=99999999")
    alert = page.locator("#notice [role=alert]")
    assert "scene in the address must be a whole number in 0..99999" in alert.inner_text()
    assert "got '<b>best</b>'" in alert.inner_text()
    assert query(page)["method"] == "sts"
    assert query(page)["budget"] == page.locator(SLIDER).get_attribute("max")


# --- bad input ----------------------------------------------------------------------------------


def png_of(width, height):
    """A PNG that only says its size: its pixels would never fit."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def picture_bytes(kind, **more):
    out = io.BytesIO()
    Image.new(kind, (40, 30)).save(out, **more)
    return out.getvalue()


BAD = [
    ("words.png", b"these are words", "broken or none of PNG, JPEG"),
    ("empty.png", b"", "words"),
    ("half.jpg", picture_bytes("RGB", format="JPEG")[:300], "cannot be read"),
    ("huge.png", png_of(20_000, 20_000), "too many pixels, allowed are 64,000,000"),
    ("large.png", png_of(10_000, 10_000), "has 10000 x 10000 pixels, allowed are 64,000,000"),
    ("long.png", png_of(5_000, 20), "allowed is a ratio of 100 : 1"),
    ("float.tif", picture_bytes("F", format="TIFF"), "floating-point values"),
    ("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "broken or none of"),
]


def test_bad_uploads_get_a_message_on_the_page(visit):
    page = visit()
    before = page.locator(".asked").inner_text()
    for name, content, says in BAD:
        page.locator(
            "#upload input[type=file], input#upload, input[type=file]"
        ).first.set_input_files({"name": name, "mimeType": "image/png", "buffer": content})
        alert = page.locator("[role=alert]", has_text=name if content else "empty")
        alert.first.wait_for()
        if content:
            assert says in alert.first.inner_text()
        text = page.locator("body").inner_text()
        assert "Traceback" not in text
        assert "/tmp" not in text
        assert page.locator(".asked").inner_text() == before
    page.locator("#ask").click()
    page.locator("#notice [role=alert]").wait_for(state="detached")


@pytest.mark.parametrize("size", [(1, 1), (300, 200)])
def test_an_upload(visit, size):
    page = visit()
    out = io.BytesIO()
    Image.new("RGB", size, "green").save(out, format="PNG")
    page.locator("input[type=file]").first.set_input_files(
        {"name": "my <picture>.png", "mimeType": "image/png", "buffer": out.getvalue()}
    )
    page.locator(".asked", has_text="picture").wait_for()
    assert "scene" not in query(page)
    assert page.locator("[role=alert]").count() == 0
    assert page.locator(".answers div").count() == 2  # nobody knows the truth


@pytest.mark.parametrize(
    ("question", "says"),
    [
        ("   ", "question must not be empty"),
        ("who is the king?", "question holds words that the model does not know: 'who', 'king'"),
        ("what is <image> ?", "question must not contain the image marker"),
    ],
)
def test_questions_that_cannot_be_asked(visit, question, says):
    page = visit()
    shown = page.locator(".asked").inner_text()
    page.locator("#question textarea").fill(question)
    page.locator("#ask").click()
    page.locator("#status [role=alert]", has_text=says).wait_for()
    assert page.locator(".asked").inner_text() == shown


def test_a_budget_out_of_a_methods_reach(visit):
    page = visit("?method=fastv&budget=4&compare=1&other=grid&other_budget=4")
    assert "budget must be at least" in page.locator(".side >> nth=0").inner_text()
    assert page.locator(".side >> nth=1").locator("canvas").count() == 1


# --- several visitors, long jobs ----------------------------------------------------------------


def test_two_visitors_at_once(visit, library):
    pages = [visit("?scene=1&method=sts&budget=10"), visit("?scene=2&method=divprune&budget=40")]
    for page in pages:
        page.locator(SLIDER).focus()
    for _ in range(6):
        for page in pages:
            page.keyboard.press("ArrowRight")
    for page, scene, method, budget in zip(
        pages, (1, 2), ("sts", "divprune"), (16, 46), strict=True
    ):
        settled(page, budget, 0, method)
        told = library(scene, method, budget)["columns"][0]
        assert page.locator(SLIDER).input_value() == str(budget)
        assert query(page)["scene"] == str(scene)
        assert page.locator(".answers dd").first.inner_text().split()[0] == told["answer"]
        for at, count in enumerate(told["per_layer"], 1):
            set_layer(page, at)
            assert page.locator(".holds").inner_text().startswith(f"Holds {count} of")


def test_a_long_job_shows_progress_waits_its_turn_and_can_be_stopped(visit, slow_server):
    first = visit(at=slow_server)
    second = visit(at=slow_server)
    shown = first.locator(".side").get_attribute("data-budget")
    first.locator("#question textarea").fill("what is the background?")
    first.locator("#ask").click()
    first.locator("#status", has_text=re.compile(r"decoder layer \d+ of \d+")).wait_for()
    second.locator(SLIDER).focus()
    second.keyboard.press("ArrowRight")
    second.locator("#status", has_text="Waiting: 1 before this one").wait_for()
    first.locator("#stop").click()
    first.locator("#status", has_text="Stopped").wait_for()
    assert first.locator(".side").get_attribute("data-budget") == shown
    assert "background" not in first.locator(".asked").inner_text()
    settled(second, int(shown) + 1)  # the other visitor's job goes on
    first.locator("#ask").click()
    first.locator(".asked", has_text="background").wait_for()
    first.locator("#stop").wait_for(state="hidden")


# --- keyboard, narrow windows, accessibility ----------------------------------------------------


def test_keyboard_only(visit):
    page = visit("?scene=4&method=sts&budget=16&at=1")
    reached = {}
    for _ in range(60):
        page.keyboard.press("Tab")
        where = page.evaluate(
            "() => { const e = document.activeElement; const box = e.closest('[id]');"
            "return e.tagName === 'CANVAS' ? 'canvas' : e.id || (box ? box.id : ''); }"
        )
        kind = page.evaluate("document.activeElement.type || ''")
        if kind == "range" and "budget" not in reached and where != "layers":
            reached["budget"] = True
            page.keyboard.press("ArrowLeft")
            settled(page, 15)
        elif where == "layers":
            reached["layers"] = True
            page.keyboard.press("ArrowRight")
            page.wait_for_function("location.search.includes('at=2')")
        elif where == "heat":
            reached["heat"] = True
            page.keyboard.press("Space")
            page.wait_for_function("location.search.includes('heat=1')")
        elif where == "canvas":
            reached["canvas"] = True
            assert page.locator(".token").inner_text().startswith("Token in row 1, column 1:")
            page.keyboard.press("ArrowRight")
            page.keyboard.press("ArrowDown")
            assert page.locator(".token").inner_text().startswith("Token in row 2, column 2:")
            page.keyboard.press("ArrowDown")
            assert page.locator(".token").inner_text().startswith("Token in row 3, column 2:")
            break
        else:
            reached[where] = True
    assert {"budget", "layers", "heat", "canvas", "ask", "download", "upload"} <= set(reached)


def test_a_narrow_window(visit):
    page = visit("?compare=1&budget=16", width=360)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    first, second = (page.locator("canvas").nth(number).bounding_box() for number in (0, 1))
    assert second["y"] > first["y"] + first["height"]  # below, not beside
    for box in (first, second):
        assert box["width"] > 250
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360
    slider = page.locator(SLIDER)
    slider.scroll_into_view_if_needed()
    slider.focus()
    page.keyboard.press("ArrowRight")
    settled(page, 17)


@pytest.mark.parametrize(
    ("width", "scheme", "address"),
    [
        (1280, "light", "?scene=0&method=grid&budget=2&compare=1&heat=1&at=3"),
        (1280, "dark", "?scene=0&method=grid&budget=2&compare=1&other=fastv&other_budget=3&heat=1"),
        (360, "light", "?scene=cat&heat=1&at=4"),
    ],
)
def test_contrast_and_labels_pass_axe(visit, width, scheme, address):
    page = visit(address, width, color_scheme=scheme)
    found = Axe().run(page).response
    assert len(found["passes"]) > 20
    assert [(one["id"], one["nodes"][0]["html"]) for one in found["violations"]] == []


def test_axe_finds_what_is_wrong(visit):
    """The control: a picture without a name is a violation."""
    page = visit()
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=\"data:,\">')")
    assert "image-alt" in [one["id"] for one in Axe().run(page).response["violations"]]


# --- download, time, and who is asked -----------------------------------------------------------


def test_download(visit, tmp_path):
    import json
    import zipfile

    page = visit("?scene=4&method=sts&budget=16")
    with page.expect_download() as caught:
        page.locator("#download").click()
    path = tmp_path / "it.zip"
    caught.value.save_as(path)
    with zipfile.ZipFile(path) as archive:
        assert set(archive.namelist()) == {"1-sts-16.png", "trace.json"}
        told = json.loads(archive.read("trace.json"))
    assert told["prompt"]["picture"]["scene"] == 4
    assert (
        page.locator(".holds")
        .inner_text()
        .startswith(f"Holds {told['columns'][0]['per_layer'][0]} of")
    )


def test_a_slider_move_is_answered_in_400_ms(visit):
    """From the key to the new view, measured in the browser; every budget is new to the server.

    Where others crowd the machine the CPU time of server and browser stands for it: on two free
    cores a move cannot take longer than that.
    """
    page = visit("?scene=21&method=sts&budget=20")
    page.evaluate(
        """() => {
          window.times = [];
          document.addEventListener('keydown', () => { window.began = performance.now(); }, true);
          new MutationObserver(() => {
            const column = document.querySelector('.side');
            if (window.began && column && column.dataset.budget !== window.seen) {
              window.seen = column.dataset.budget;
              requestAnimationFrame(() => window.times.push(performance.now() - window.began));
            }
          }).observe(document.querySelector('#view'), { childList: true, subtree: true });
          window.seen = document.querySelector('.side').dataset.budget;
        }"""
    )
    page.locator(SLIDER).focus()
    before, moves = cpu_seconds(os.getpid()), 15
    for move in range(moves):
        page.keyboard.press("ArrowRight")
        settled(page, 21 + move)
    spent = 1000 * (cpu_seconds(os.getpid()) - before) / moves
    page.wait_for_timeout(50)
    times = page.evaluate("window.times")
    assert len(times) == moves
    median = statistics.median(times)
    print(
        f"slider move: median {median:.0f} ms, {spent:.0f} ms of CPU, all {sorted(map(int, times))}"
    )
    assert median < 400 or (crowded() and spent < 400)


def test_the_page_is_there_in_six_seconds(server, tmp_path):
    """Files are in the cache by now. Where others crowd the machine, CPU time stands for it."""
    started = []
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        with run_explore(folder) as running:
            started.append((running.seconds, running.cpu_seconds))
        if started[-1][0] < 6:
            break
    seconds, spent = map(min, zip(*started, strict=True))
    print(f"first page: {seconds:.1f} s after the command, {spent:.1f} s of CPU")
    assert seconds < 6 or (crowded() and spent < 6)


def test_only_this_machine_can_ask(server):
    with socket.socket() as line, pytest.raises(ConnectionRefusedError):
        line.connect(("127.0.0.2", server.port))  # also this machine, another address


def test_the_listener_hears_calls_to_others(tmp_path):
    """The control: the audit hook writes down what the server must not do."""
    import subprocess
    import sys

    from explore_server import LISTENING

    code = (
        f"import sys; sys.argv = ['x', {str(tmp_path / 'calls')!r}]; "
        f"exec(open({str(LISTENING)!r}).read().split('if __name__')[0]); sys.addaudithook(hear)\n"
        "import socket\n"
        "try: socket.getaddrinfo('host.invalid', 80)\nexcept OSError: pass\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (tmp_path / "calls").read_text() == "getaddrinfo host.invalid\n"


def test_the_browser_refuses_other_hosts(visit):
    """The page's policy stops what the tests only watch."""
    page = visit()
    failed = page.evaluate(
        "fetch('http://127.0.0.2:9/').then(() => 'answered', (error) => String(error))"
    )
    assert "Failed to fetch" in failed
    policy = page.request.get(page.url).headers["content-security-policy"]
    assert "connect-src 'self' data: blob:" in policy


def test_a_port_in_use_and_a_model_that_is_not_there(server):
    import subprocess
    import sys

    for words, says in (
        (["--port", str(server.port)], f"port must be a free one, got {server.port}"),
        (["--port", "0"], "port"),
        (["--model", "./nowhere"], "model folder './nowhere' does not exist"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "stsprune", "explore", *words],
            capture_output=True,
            text=True,
            env=ENVIRONMENT,
        )
        assert done.returncode == 2
        assert says in done.stderr
        assert "Traceback" not in done.stderr


def test_a_model_that_cannot_be_pruned():
    from explore_server import free_port

    from stsprune.errors import UnsupportedModelError
    from stsprune.explore.serve import open_page

    class Other(torch.nn.Module):
        device, dtype = torch.device("cpu"), torch.float32

        class config:
            @staticmethod
            def get_text_config():
                return type("Text", (), {"num_hidden_layers": 2})

    page, _, ready = open_page(lambda: (Other().eval(), None), "other", port=free_port())
    with pytest.raises(UnsupportedModelError, match="Other"):
        ready.result(60)
    page.close(verbose=False)
