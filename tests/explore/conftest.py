"""The page's own environment is `make test-explore`; what needs no browser runs everywhere."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
if find_spec("gradio") is None or find_spec("playwright") is None:
    collect_ignore_glob = ["test_page_*.py"]
else:
    from explore_server import SLOW, Server, run_explore

    @pytest.fixture(scope="session")
    def server(tmp_path_factory):
        """`stsprune explore` in a process of its own, listened to for calls to other machines."""
        with run_explore(tmp_path_factory.mktemp("server")) as running:
            yield running
            assert running.calls() == []

    @pytest.fixture(scope="session")
    def slow_server(tmp_path_factory):
        """The same page on a model whose layers take their time."""
        with run_explore(tmp_path_factory.mktemp("slow"), [str(SLOW)]) as running:
            yield running

    @pytest.fixture(scope="session")
    def chromium():
        """The system's Chromium; without one the tests are skipped, and fail where CI is set."""
        path = next(filter(None, map(shutil.which, BROWSERS)), None)
        if path is None:
            reason = f"none of {', '.join(BROWSERS)} is installed: apt-get install chromium"
            (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
        from playwright.sync_api import sync_playwright

        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
            yield browser
            browser.close()

    @pytest.fixture
    def visit(chromium, server):
        """visit(query="", width=1280, ...) -> a page of a new visitor, its view drawn.

        At the end: nothing was asked of another host, and no script failed.
        """
        seen: list[str] = []
        failures: list[str] = []
        contexts = []

        def enter(query: str = "", width: int = 1280, at: Server = server, **options):
            context = chromium.new_context(viewport={"width": width, "height": 900}, **options)
            contexts.append(context)
            context.route("**/*", lambda route: (seen.append(route.request.url), route.continue_()))
            context.set_default_timeout(60_000)
            page = context.new_page()
            page.on("pageerror", lambda error: failures.append(str(error)))
            page.goto(at.address + query)
            page.wait_for_selector(".view[data-ready]", timeout=120_000)
            return page

        yield enter
        for context in contexts:
            context.close()
        assert failures == []
        local = ("http://127.0.0.1:", "data:", "blob:http://127.0.0.1:")
        assert seen
        assert [url for url in seen if not url.startswith(local)] == []
