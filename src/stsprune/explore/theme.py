"""The page's look: a Gradio theme with the system's own fonts, nothing from another host."""

from __future__ import annotations

from typing import Any

from stsprune.viz.marks import LIGHT

FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")


def theme() -> Any:
    """Plain names as fonts: Gradio asks Google only for `themes.GoogleFont`."""
    import gradio as gr

    return gr.themes.Base(
        primary_hue=gr.themes.colors.blue,
        neutral_hue=gr.themes.colors.slate,
        font=list(FONTS),
        font_mono=list(MONO),
        radius_size=gr.themes.sizes.radius_md,
    ).set(
        # Contrast of at least 4.5 : 1 for every small text.
        block_label_text_color=LIGHT.ink,
        block_title_text_color=LIGHT.ink,
        block_info_text_color="#4a545e",
        block_title_text_weight="600",
        body_text_color_subdued="#4a545e",
        input_placeholder_color="#59636e",
        slider_color=LIGHT.hues[3],
        button_primary_background_fill=LIGHT.hues[3],
        button_primary_background_fill_hover="#094e90",
    )
