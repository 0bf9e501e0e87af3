"""The report's HTML: one file that loads nothing."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1f24; --soft: #59636e; --line: #d8dde3;
  --band: #f5f7f9; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14181d; --ink: #e8ebee; --soft: #9aa4af; --line: #363d45; --band: #1b2026; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 68rem; padding: 1.2rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; border-top: 1px solid var(--line);
  padding-top: 1.2rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
p { margin: .3rem 0; max-width: 46rem; }
p.note, figcaption, .lead { color: var(--soft); font-size: .92rem; }
ul { margin: .2rem 0; padding-left: 1.1rem; max-width: 52rem; }
figure { margin: 1rem 0; }
img { display: block; width: 100%; height: auto; }
.wide { overflow-x: auto; margin: .6rem 0; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .55rem; text-align: right; white-space: nowrap; }
th { color: var(--soft); font-weight: 600; border-bottom: 1px solid var(--line); }
.name { text-align: left; }
tbody tr:nth-child(odd) { background: var(--band); }
td.name:first-child, th.name:first-child { position: sticky; left: 0; background: inherit; }
tbody tr { background: var(--paper); }
th.name:first-child { background: var(--paper); }
summary { cursor: pointer; padding: .3rem 0; font-weight: 600; }
pre { overflow-x: auto; background: var(--band); padding: .7rem; font-size: .85rem; }
"""


def page(title: str, lead: str, parts: Sequence[tuple[str, str]]) -> str:
    """A whole document; `parts`: (heading, its HTML); title and lead are plain texts."""
    body = "\n".join(
        f"<section><h2>{escape(heading)}</h2>\n{inner}\n</section>"
        for heading, inner in parts
        if inner
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style></head>\n<body>\n"
        f'<h1>{escape(title)}</h1>\n<p class="lead">{escape(lead)}</p>\n{body}\n</body></html>\n'
    )


def picture(light: bytes, dark: bytes, name: str, note: str) -> str:
    """A PNG inside the page, in two versions; `name` and `note` say what it shows."""
    sources = [f"data:image/png;base64,{b64encode(png).decode()}" for png in (light, dark)]
    caption = f"<figcaption><strong>{escape(name)}.</strong> {escape(note)}</figcaption>"
    return (
        f'<figure><picture><source media="(prefers-color-scheme: dark)" srcset="{sources[1]}">'
        f'<img alt="{escape(name)}" src="{sources[0]}"></picture>{caption}</figure>'
    )


def sentences(parts: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Headings with a list each, of plain texts."""
    return "\n".join(
        f"<h3>{escape(heading)}</h3>\n<ul>"
        + "".join(f"<li>{escape(sentence)}</li>" for sentence in said)
        + "</ul>"
        for heading, said in parts
    )


def folded(heading: str, inner: str, unfolded: bool = False) -> str:
    """A part that opens on a click."""
    if not inner:
        return ""
    state = " open" if unfolded else ""
    return f"<details{state}><summary>{escape(heading)}</summary>\n{inner}\n</details>"


def paragraph(text: str) -> str:
    """A remark, of plain text."""
    return f'<p class="note">{escape(text)}</p>'


def facts(known: Mapping[str, str]) -> str:
    """Names with values, of plain texts."""
    return (
        "<ul>" + "".join(f"<li>{escape(k)}: {escape(v)}</li>" for k, v in known.items()) + "</ul>"
    )


def code(text: str) -> str:
    """A command, of plain text."""
    return f"<pre><code>{escape(text)}</code></pre>"
