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


def test_answers_equal_the_engines(server, asked):
    """Concurrent, in chunks (96 tokens a step), with prefix caching: pictures repeat."""

    def ask(question):
        image = data_url(picture({"scene": question["scene"]}))
        return server.chat(question["text"], [image], max_tokens=1)

    before = server.metric("vllm:prompt_tokens_total")
    with ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(ask, asked))
    assert {status for status, _ in replies} == {200}
    served = [reply["choices"][0]["message"]["content"].strip() for _, reply in replies]
    tokenizer = load_embedded()[1].tokenizer
    expected = engine_tokens(asked, BUDGET, "original", 1)
    assert served == [tokenizer.decode(tokens).strip() for tokens in expected]
    used = [reply["usage"]["prompt_tokens"] for _, reply in replies]
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
