"""The report of a calibration: one self-contained HTML file."""

from __future__ import annotations

import io
import json
from base64 import b64encode
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from .marks import DARK, LIGHT, Theme, png, style
from .overlay import dim_dropped
from .page import facts, folded, page, paragraph, picture

#: Pixels: the curve, a prompt's picture, and how wide that stands on the page.
WIDE, SIDE, SHOWN = 1600, 360, 180


def calibration_page(document: dict[str, Any], changed: Sequence[Any]) -> str:
    """The page; document: what `Calibration.document` gives, changed: its prompts with pictures."""
    chosen, target = document["chosen"], document["target"]
    held = chosen["held_out"]
    lead = (
        f"{document['method']['name']} with budget {chosen['label']} keeps "
        f"{_percent(held['same'])} of the unpruned answers of {document['model']['name'] or 'the'} "
        f"{document['model']['architecture']} on {held['prompts']} held-out prompts (95 % interval "
        f"{_percent(held['low'])} to {_percent(held['high'])}; target {_percent(target)})."
    )
    parts = [
        ("Agreement, time and KV cache against budget", _curve(document)),
        ("Every budget that was measured", _table(document)),
        ("By kind of prompt", _kinds(document)),
        ("Answers that changed, worst first", _changed(document, changed)),
        ("How it was made", _origin(document)),
    ]
    return page(f"stsprune calibrate: {document['data']['name']}", lead, parts)


def _curve(document: dict[str, Any]) -> str:
    from matplotlib import rc_context

    versions = []
    for theme in (LIGHT, DARK):
        with rc_context(style(theme)):
            versions.append(png(_draw(document, theme), WIDE))
    note = (
        "Left: share of greedy answers that are the unpruned model's, and of its answers' tokens "
        "when they are forced, on the searched half; the ring is the choice on the held-out half "
        "with its exact 95 % interval. Right: what is left of the time to the first token (one "
        "prompt at a time, encoder and selection included) and of the KV cache. Budgets are shown "
        "as visual tokens per decoder layer."
    )
    return _cards(document) + picture(
        versions[0], versions[1], "What a budget costs and saves", note
    )


def _cards(document: dict[str, Any]) -> str:
    chosen, unpruned = document["chosen"], document["unpruned"]
    cost, held = chosen["cost"], chosen["held_out"]
    visual = document["curve"][-1]["search"]["visual"]
    cards = [
        (f"{chosen['label']}", f"budget: {held['visual']:.1f} of {visual:.0f} visual tokens"),
        (_percent(held["same"]), f"same answer, {held['prompts']} held-out prompts"),
        (
            f"-{100 * (1 - cost['time']):.0f} %",
            f"first token: {unpruned['ms']:.0f} to {cost['ms']:.0f} ms",
        ),
        (
            f"-{100 * (1 - cost['kv']):.0f} %",
            f"KV cache: {_size(unpruned['kv_bytes'])} to {_size(cost['kv_bytes'])}",
        ),
    ]
    inner = "".join(
        '<div style="flex:1 1 10rem;background:var(--band);border-radius:8px;padding:.7rem 1rem">'
        f'<div style="font-size:1.7rem;font-weight:700">{escape(value)}</div>'
        f'<div style="color:var(--soft);font-size:.9rem">{escape(text)}</div></div>'
        for value, text in cards
    )
    return f'<div style="display:flex;flex-wrap:wrap;gap:.8rem;margin:.8rem 0">{inner}</div>'


def _draw(document: dict[str, Any], theme: Theme) -> Any:
    from matplotlib.figure import Figure
    from matplotlib.ticker import ScalarFormatter

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    curve, chosen, target = document["curve"], document["chosen"], document["target"]
    tokens = [point["search"]["visual"] for point in curve]
    red, _, teal, blue = theme.hues[:4]
    same = [100 * point["search"]["same"] for point in curve]
    alike = [100 * point["search"]["tokens"] for point in curve]
    left.plot(tokens, alike, color=teal, lw=1.4, marker="s", ms=3.5, label="tokens alike")
    left.plot(tokens, same, color=red, lw=2.2, marker="o", ms=4.5, label="same answer")
    left.axhline(100 * target, color=theme.soft, lw=1, ls=(0, (4, 3)))
    left.annotate(
        f"target {_percent(target)}",
        (tokens[-1], 100 * target),
        (0, -4),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=8.5,
        color=theme.soft,
    )
    held, at = chosen["held_out"], chosen["held_out"]["visual"]
    spread = [[100 * (held["same"] - held["low"])], [100 * (held["high"] - held["same"])]]
    left.errorbar(
        [at],
        [100 * held["same"]],
        spread,
        fmt="o",
        ms=11,
        mfc="none",
        mew=2,
        capsize=4,
        color=theme.ink,
        label="chosen, held out",
        zorder=5,
    )
    left.set_ylim(max(0, min(same) - 2), 100.8)
    left.set(title="Agreement with unpruned, %")
    costs = [point for point in curve if point["cost"]]
    places = [point["search"]["visual"] for point in costs]
    for key, hue, mark, label in (
        ("time", blue, "o", "time to first token"),
        ("kv", teal, "s", "KV cache"),
    ):
        right.plot(
            places,
            [100 * point["cost"][key] for point in costs],
            color=hue,
            lw=2,
            marker=mark,
            ms=4.5,
            label=label,
        )
        right.plot(
            [at], [100 * chosen["cost"][key]], "o", ms=11, mfc="none", mew=2, color=theme.ink
        )
    right.axhline(100, color=theme.soft, lw=1, ls=(0, (4, 3)))
    right.set_ylim(0, None)
    right.set(title="Of the unpruned model's, %")
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.axvline(at, color=theme.faint, lw=6, alpha=0.5, zorder=0)
        axes.set_xlabel("visual tokens per decoder layer")
        axes.legend(loc="lower right")
    return figure


def _table(document: dict[str, Any]) -> str:
    labels = document["unpruned"]["accuracy"] is not None
    head = [
        "budget",
        "visual tokens",
        "same answer %",
        "held out %",
        "95 % interval",
        "tokens alike %",
        "KL",
        "time %",
        "KV cache %",
    ] + ["accuracy %"] * labels
    rows = []
    marked = [("", point) for point in document["curve"]]
    marked += [("before the search: ", point) for point in document["tried"]]
    for mark, point in marked:
        seen, held, cost = point["search"], point["held_out"], point["cost"]
        first = f"{mark}{point['label']}"
        first += (
            " (chosen)" if repr(point["settings"]) == repr(document["chosen"]["settings"]) else ""
        )
        row = [
            first,
            f"{seen['visual']:.1f}",
            f"{100 * seen['same']:.1f}",
            "" if held is None else f"{100 * held['same']:.1f}",
            "" if held is None else f"{100 * held['low']:.1f} - {100 * held['high']:.1f}",
            f"{100 * seen['tokens']:.1f}",
            f"{seen['kl']:.4f}",
            "" if cost is None else f"{100 * cost['time']:.0f}",
            "" if cost is None else f"{100 * cost['kv']:.0f}",
        ]
        rows.append(row + [_maybe(seen["accuracy"])] * labels)
    said = [
        f"Budget {point['label']} met the target on the searched half "
        f"({_percent(point['search']['same'])}) and not on the other one "
        f"({_percent(point['held_out']['same'])}): the choice went one step up."
        for point in document["refuted"]
        if point["held_out"]
    ]
    if labels:
        said.append(f"Accuracy unpruned: {_percent(document['unpruned']['accuracy'])}.")
    return _grid(head, rows) + "".join(map(paragraph, said))


def _kinds(document: dict[str, Any]) -> str:
    kinds = document["chosen"]["kinds"]
    if not kinds:
        return ""
    names = sorted(kinds, key=lambda name: kinds[name]["same"])
    points = document["curve"]
    head = ["kind", "prompts", "same answer %", "95 % interval", "KL"]
    rows = [
        [
            name,
            str(kinds[name]["prompts"]),
            f"{100 * kinds[name]['same']:.1f}",
            f"{100 * kinds[name]['low']:.1f} - {100 * kinds[name]['high']:.1f}",
            f"{kinds[name]['kl']:.4f}",
        ]
        for name in names
    ]
    curve = [
        [name, *(_maybe(point["kinds"].get(name, {}).get("same")) for point in points)]
        for name in names
    ]
    columns = ["kind", *(f"{point['label']}" for point in points)]
    return (
        paragraph("Of the chosen method, over both halves.")
        + _grid(head, rows)
        + folded("same answer in % by kind, at every budget", _grid(columns, curve))
    )


def _changed(document: dict[str, Any], changed: Sequence[Any]) -> str:
    total = sum(document["chosen"][half]["prompts"] for half in ("search", "held_out"))
    count = document["changed_count"]
    if not count:
        return paragraph(f"None of {total} answers changed.")
    some = f", the {len(changed)} worst are shown" if len(changed) < count else ""
    lead = paragraph(
        f"{count} of {total} answers changed{some}. Bright: kept; first what enters the decoder, "
        "then what its filter leaves."
    )
    return lead + "".join(_one(change) for change in changed)


def _one(change: Any) -> str:
    shown = "".join(
        _kept(picture, name, kept)
        for picture in change.pictures
        for name, kept in (("the picture", None), *picture.stages)
    )
    facts = [("unpruned", change.unpruned), ("pruned", change.pruned)]
    facts += [("label", change.wanted)] if change.wanted is not None else []
    said = "".join(
        f'<div><span style="color:var(--soft);display:inline-block;min-width:5.5rem">{name}</span>'
        f"<strong>{escape(text)}</strong></div>"
        for name, text in facts
    )
    kind = f" · {escape(change.kind)}" if change.kind else ""
    return (
        '<article style="display:flex;flex-wrap:wrap;gap:1rem;border-top:1px solid var(--line);'
        f'padding:1rem 0"><div style="display:flex;flex-wrap:wrap;gap:.5rem">{shown}</div>'
        f'<div style="flex:1 1 16rem"><p><strong>{escape(change.question)}</strong></p>{said}'
        f'<p class="note">{100 * change.tokens:.0f} % of the tokens alike, KL {change.kl:.3f}'
        f"{kind}<br>{escape(change.where)}</p></div></article>"
    )


def _kept(picture: Any, name: str, kept: Sequence[int] | None) -> str:
    pixels = (
        picture.pixels if kept is None else dim_dropped(picture.pixels, kept, picture.grid, SIDE)
    )
    note = name if kept is None else f"{name}: {len(kept)} kept"
    return (
        f'<figure style="margin:0;width:{SHOWN}px"><img alt="{escape(note)}" '
        f'src="data:image/jpeg;base64,{_jpeg(pixels)}"><figcaption>{escape(note)}</figcaption>'
        "</figure>"
    )


def _jpeg(pixels: np.ndarray) -> str:
    from PIL import Image

    image, out = Image.fromarray(pixels), io.BytesIO()
    image.thumbnail((SIDE, SIDE))
    image.save(out, format="JPEG", quality=85)
    return b64encode(out.getvalue()).decode()


def _origin(document: dict[str, Any]) -> str:
    chosen, data = document["chosen"], document["data"]
    known = {
        "method": f"{chosen['method']} {json.dumps(chosen['settings'])}",
        "positions of kept tokens": document["positions"],
        "model": f"{document['model']['name']} ({document['model']['architecture']}), weights "
        f"{document['model']['weights'][:16]}",
        "data": f"{data['name']}, {data['prompts']} prompts, SHA-256 {data['sha256'][:16]}",
        "dtype": document["measured"]["dtype"],
        "longest answer": f"{document['measured']['max_new_tokens']} tokens",
        **document["versions"],
    }
    remark = (
        "Half of the prompts were searched for the smallest budget, the other half verifies it: "
        "pictures are never on both sides. A greedy answer counts as the same when every token of "
        "the unpruned answer is the most likely one after those before it."
    )
    return paragraph(remark) + facts(known)


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{' class=name' * (not i)}>{escape(text)}</{tag}>" for i, text in enumerate(row)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return (
        f'<div class="wide"><table><thead><tr>{cells("th", head)}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _maybe(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def _size(count: float) -> str:
    for unit in ("B", "KB", "MB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GB"
