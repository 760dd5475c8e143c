"""The results as a picture: horizontal bars, a panel a measurement and broker, one colour a contender."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from harness.table import BROKER_NAMES

COLOURS = {
    "umbel": "#6A3D9A",
    "celery": "#6BA539",
    "dramatiq": "#D1495B",
    "huey": "#2E86AB",
    "rq": "#8C6D46",
    "taskiq": "#EDAE49",
}
MORE, LESS = "more is better", "less is better"
CUT = 3.0
"""Where less is better, bars end at this many times the median."""
PANELS = [
    ("drain", "rate", "Drain, tasks/s", MORE),
    ("drain", "cpu", "Drain, worker CPU µs a task", LESS),
    ("enqueue", "rate", "Enqueue, tasks/s", MORE),
    ("roundtrip", "p50", "Round trip p50, ms", LESS),
    ("footprint", "pss", "Idle memory (PSS), MB", LESS),
    ("canvas", "chord", "Chord, ms", LESS),
    ("canvas", "group", "Group with all results, ms", LESS),
    ("canvas", "chain", "Chain, ms", LESS),
]


def draw(results: dict[str, Any], stem: Path) -> list[Path]:
    """Write <stem>.png and <stem>.svg; returns them, or nothing where nothing was measured."""
    brokers = [
        broker for broker in BROKER_NAMES if any(row["broker"] == broker and row["median"] for row in results["rows"])
    ]
    panels = [panel for panel in PANELS if any(_bars(results, panel[0], panel[1], broker) for broker in brokers)]
    if not panels:
        return []
    counts = [
        max(len(_bars(results, measure, figure, broker)) for broker in brokers) for measure, figure, _, _ in panels
    ]
    heights = [max(count, 2) * 0.25 + 0.65 for count in counts]
    plt.rcParams.update({"font.family": "DejaVu Sans", "font.size": 9, "svg.fonttype": "path"})
    figure, axes = plt.subplots(
        len(panels),
        len(brokers),
        figsize=(5.4 * len(brokers) + 0.4, sum(heights) + 0.6),
        squeeze=False,
        gridspec_kw={"height_ratios": heights},
        layout="constrained",
    )
    for line, (measure, name, title, better) in enumerate(panels):
        for column, broker in enumerate(brokers):
            bars = _bars(results, measure, name, broker)
            _panel(axes[line][column], bars, counts[line], f"{title}: {BROKER_NAMES[broker]}", better)
    machine = results["machine"]
    rounds = f"medians of {results['rounds']} interleaved rounds" if results["rounds"] > 1 else "one round"
    figure.suptitle(
        f"{results['tasks']:,} no-op tasks, {rounds}, {machine['cores']} cores, {machine['python']}, "
        f"{results['date'][:10]}",
        fontsize=9,
        color="#555555",
    )
    written = [Path(f"{stem}.png"), Path(f"{stem}.svg")]
    figure.savefig(written[0], dpi=130)
    figure.savefig(written[1], metadata={"Date": None})
    plt.close(figure)
    return written


def _bars(results: dict[str, Any], measure: str, figure: str, broker: str) -> list[tuple[str, str, float]]:
    """(contender, set-up, value), the best first."""
    found = [
        (row["contender"], row["setup"], row["median"][figure])
        for row in results["rows"]
        if row["measure"] == measure and row["broker"] == broker and figure in row["median"]
    ]
    return sorted(found, key=lambda bar: bar[2], reverse=figure == "rate")


def _panel(axis: Any, bars: list[tuple[str, str, float]], slots: int, title: str, better: str) -> None:
    """One panel; `slots` is the number of bars of the fullest one beside it, so that all bars are of one thickness."""
    if not bars:
        axis.set_visible(False)
        return
    values = [value for _, _, value in bars]
    # Where less is better a straggler would flatten all the others: its bar is cut, its figure is not.
    limit = min(max(values), CUT * statistics.median(values)) if better == LESS else max(values)
    places = range(slots, slots - len(bars), -1)
    colours = [COLOURS.get(contender, "#888888") for contender, _, _ in bars]
    axis.barh(places, [min(value, limit) for value in values], height=0.74, color=colours)
    axis.set_yticks(places, [f"{contender}  {setup}" for contender, setup, _ in bars])
    for tick, (contender, _, _) in zip(axis.get_yticklabels(), bars, strict=True):
        tick.set_fontweight("bold" if contender == "umbel" else "normal")
    for place, value in zip(places, values, strict=True):
        said = f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
        cut = "  (cut)" if value > limit else ""
        axis.text(min(value, limit) + limit * 0.012, place, said + cut, va="center", fontsize=8.5, color="#222222")
    axis.set_xlim(0, limit * 1.27)
    axis.set_ylim(0.4, slots + 0.6)
    axis.set_title(title, loc="left", fontsize=10.5, fontweight="bold")
    axis.set_title(better, loc="right", fontsize=8, color="#777777")
    axis.tick_params(axis="y", length=0)
    axis.set_xticks([])
    for side in ("top", "right", "bottom", "left"):
        axis.spines[side].set_visible(False)
