"""The embedded model behind the OpenAI server: answers, caches, bad input, a dead engine never."""

from __future__ import annotations

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
    limits = ("--limit-mm-per-prompt", '{"image": 3}')
    with serve(str(embedded), *flags, *limits, log=log, STSPRUNE_BUDGET=str(BUDGET)) as running:
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
