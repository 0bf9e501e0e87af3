"""The embedded model behind the OpenAI server: answers, caches, bad input, a dead engine never."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from broken import BROKEN, bomb, png_url
from equality import engine_tokens, questions
from offline import picture
from server import data_url, serve

from stsprune import load_embedded

BUDGET = 48
BLOCK = 32  # vLLM's attention on the CPU takes multiples of 32


@pytest.fixture(scope="module")
def server(embedded, tmp_path_factory):
    log = tmp_path_factory.mktemp("server") / "log"
    flags = ("--max-model-len", "512", "--block-size", str(BLOCK), "--max-num-batched-tokens", "96")
    limits = ("--limit-mm-per-prompt", '{"image": 3}', "--trust-request-mm-kwargs")
    with serve(str(embedded), *flags, *limits, log=log, STSPRUNE_BUDGET=str(BUDGET)) as running:
        running.log = log
        yield running


@pytest.fixture(scope="module")
def asked():
    return questions(48)


def ask_all(server, asked):
    """Replies to questions, 16 at once."""

    def ask(question):
        image = data_url(picture({"scene": question["scene"]}))
        return server.chat(question["text"], [image], max_tokens=1)

    with ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(ask, asked))
    assert {status for status, _ in replies} == {200}
    return [reply for _, reply in replies]


def answers(replies):
    return [reply["choices"][0]["message"]["content"].strip() for reply in replies]


def engine_answers(asked):
    tokenizer = load_embedded()[1].tokenizer
    return [tokenizer.decode(one).strip() for one in engine_tokens(asked, BUDGET, "original", 1)]


def test_answers_equal_the_engines(server, asked):
    """Concurrent, in chunks (96 tokens a step), with prefix caching: pictures repeat."""
    before = server.metric("vllm:prompt_tokens_total")
    replies = ask_all(server, asked)
    assert answers(replies) == engine_answers(asked)
    used = [reply["usage"]["prompt_tokens"] for reply in replies]
    tokenizer = load_embedded()[1].tokenizer
    lengths = [len(tokenizer(f"USER: {q['text']} ASSISTANT:")["input_ids"]) for q in asked]
    assert used == [length + BUDGET for length in lengths]
    assert server.metric("vllm:prompt_tokens_total") - before == sum(used)
    assert server.metric("vllm:prefix_cache_hits_total") > 0
    assert server.metric("vllm:kv_cache_usage_perc") == 0


def test_several_images_and_none(server):
    images = [data_url(picture({"scene": number})) for number in range(3)]
    for count in range(4):
        status, reply = server.chat("what is red ?", images[:count])
        assert status == 200
        assert reply["usage"]["prompt_tokens"] == 3 + 4 + BUDGET * count


@pytest.mark.parametrize(
    "content",
    [
        *(pytest.param(one, id=f"broken {i}") for i, one in enumerate(BROKEN)),
        pytest.param(bomb(), id="too large"),
    ],
)
def test_bad_images_are_the_clients_fault(server, content):
    status, reply = server.chat("what is red ?", [png_url(content)])
    assert status == 400, reply
    status, reply = server.chat("what is red ?", [data_url(picture({"scene": 0}))])
    assert status == 200, reply


def test_budgets_of_requests(server, asked):
    """A cheap request, a careful one and one of the server's budget share a picture's caches."""
    tokenizer = load_embedded()[1].tokenizer
    for budget in (16, BUDGET, 16, 64, BUDGET):
        expected = engine_tokens(asked[:4], budget, "original", 1)
        for question, tokens in zip(asked, expected, strict=False):
            image = data_url(picture({"scene": question["scene"]}))
            own = {} if budget == BUDGET else {"mm_processor_kwargs": {"stsprune_budget": budget}}
            status, reply = server.chat(question["text"], [image], max_tokens=1, **own)
            assert status == 200, reply
            assert answers([reply]) == [tokenizer.decode(tokens).strip()]
            length = len(tokenizer(f"USER: {question['text']} ASSISTANT:")["input_ids"])
            assert reply["usage"]["prompt_tokens"] == length + budget


@pytest.mark.parametrize("budget", [0, -1, 1.5, "many", None])
def test_bad_budgets_of_requests(server, budget):
    image = data_url(picture({"scene": 0}))
    more = {"mm_processor_kwargs": {"stsprune_budget": budget}}
    status, reply = server.chat("what is red ?", [image], **more)
    assert status == 400, reply
    assert "stsprune_budget must be" in str(reply)
    assert server.chat("what is red ?", [image])[0] == 200


def test_counters(server):
    names = ("visual_tokens_before", "visual_tokens_after", "pruned_requests")
    before = [server.metric(f"stsprune:{name}_total") for name in names]
    images = [data_url(picture({"scene": number})) for number in range(2)]
    assert server.chat("what is red ?", images)[0] == 200
    assert server.chat("what is red ?", [])[0] == 200
    after = [server.metric(f"stsprune:{name}_total") for name in names]
    grown = [new - old for new, old in zip(after, before, strict=True)]
    assert grown == [2 * 144, 2 * BUDGET, 1]


def test_one_line_at_the_start(server):
    said = server.log.read_text()
    assert re.search(rf"stsprune \S+ prunes \S+ to {BUDGET} visual tokens per image", said)


def test_too_many_images(server):
    images = [data_url(picture({"scene": number})) for number in range(4)]
    assert server.chat("what is red ?", images)[0] == 400
    server.get("/health")


@pytest.mark.slow
def test_two_copies(embedded, asked, tmp_path):
    """Data parallel: both answer, and as one does."""
    flags = ("--max-model-len", "512", "--data-parallel-size", "2")
    settings = {"STSPRUNE_BUDGET": str(BUDGET), "VLLM_CPU_OMP_THREADS_BIND": "0|1"}
    with serve(str(embedded), *flags, log=tmp_path / "log", **settings) as server:
        assert answers(ask_all(server, asked)) == engine_answers(asked)
        done = [server.metric("vllm:request_success_total", engine=one) for one in "01"]
    assert min(done) > 0
    assert sum(done) == len(asked)
