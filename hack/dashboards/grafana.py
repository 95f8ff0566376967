"""Grafana's JSON, as little of it as the dashboards need: panels by what they show, laid out row by row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

Json = dict[str, Any]

DATASOURCE: Final[Json] = {"type": "prometheus", "uid": "${datasource}"}
WIDTH: Final = 24
SCHEMA_VERSION: Final = 39


@dataclass(frozen=True, kw_only=True)
class Query:
    """One PromQL query of a panel. `legend` may use labels as {{label}}; `instant`: the last value only."""

    promql: str
    legend: str = ""
    instant: bool = False


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One panel.

    Attributes:
        kind: timeseries, stat, table, state-timeline or row.
        title: What it shows.
        help: What to make of it; shown behind the (i).
        unit: Grafana's id of the unit, such as percentunit or s.
        width, height: Of 24 columns, and in rows of 30 pixels.
        stacked: Whether a timeseries is a stacked area.
        minimum, maximum: Of the vertical axis.
        limit: A horizontal line, in the unit; None for none.
        repeat: Name of a variable; one panel for each of its values.
        defaults, options: More of Grafana's field defaults and options.
    """

    kind: str
    title: str
    queries: tuple[Query, ...] = ()
    help: str = ""
    unit: str = "short"
    width: int = 8
    height: int = 8
    stacked: bool = False
    minimum: float | None = None
    maximum: float | None = None
    limit: float | None = None
    repeat: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Variable:
    """A choice at the top: the values of a label. `every`: whether all of them can be chosen at once."""

    name: str
    label: str
    promql: str
    every: bool = False
    hidden: bool = False


def row(title: str) -> Panel:
    """Return a heading."""
    return Panel(kind="row", title=title, width=WIDTH, height=1)


def timeseries(title: str, *queries: Query, **more: Any) -> Panel:
    """Curves over time."""
    return Panel(kind="timeseries", title=title, queries=queries, **more)


def stat(title: str, *queries: Query, **more: Any) -> Panel:
    """Return one big number each."""
    return Panel(kind="stat", title=title, queries=queries, **{"width": 4, "height": 4, **more})


def states(title: str, *queries: Query, **more: Any) -> Panel:
    """Return a panel that shows states over time as coloured bars."""
    return Panel(kind="state-timeline", title=title, queries=queries, **{"width": 12, **more})


def table(title: str, *queries: Query, **more: Any) -> Panel:
    """Return a table of the labels and last values."""
    return Panel(kind="table", title=title, queries=queries, **{"width": WIDTH, **more})


@dataclass(frozen=True, kw_only=True)
class Dashboard:
    """A dashboard; `uid` stays the same for ever, because links hold it."""

    uid: str
    title: str
    description: str
    variables: Sequence[Variable]
    panels: Sequence[Panel]
    tags: Sequence[str] = ("modelrollout",)

    def to_json(self) -> Json:
        """Return what Grafana imports."""
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": list(self.tags),
            "schemaVersion": SCHEMA_VERSION,
            "version": 1,
            "editable": True,
            "graphTooltip": 1,
            "refresh": "10s",
            "time": {"from": "now-1h", "to": "now"},
            "timezone": "browser",
            "annotations": {"list": []},
            "links": [],
            "templating": {"list": [_datasource(), *(_variable(one) for one in self.variables)]},
            "panels": list(_laid_out(self.panels)),
        }


def _datasource() -> Json:
    return {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "current": {},
        "hide": 0,
    }


def _variable(variable: Variable) -> Json:
    return {
        "name": variable.name,
        "label": variable.label,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": variable.promql, "refId": variable.name},
        "definition": variable.promql,
        "refresh": 2,
        "sort": 1,
        "multi": variable.every,
        "includeAll": variable.every,
        "allValue": ".*" if variable.every else None,
        "current": {"text": ["All"], "value": ["$__all"]} if variable.every else {},
        "hide": 2 if variable.hidden else 0,
    }


def _laid_out(panels: Sequence[Panel]) -> Iterator[Json]:
    """From left to right, and to a new line where the width is used up or a heading comes."""
    across = down = tallest = 0
    for number, panel in enumerate(panels, start=1):
        if panel.kind == "row" or across + panel.width > WIDTH:
            down, across, tallest = down + tallest, 0, 0
        place = {"x": across, "y": down, "w": panel.width, "h": panel.height}
        yield _row(number, panel, place) if panel.kind == "row" else _panel(number, panel, place)
        across, tallest = across + panel.width, max(tallest, panel.height)


def _row(number: int, panel: Panel, place: Json) -> Json:
    return {
        "id": number,
        "type": "row",
        "title": panel.title,
        "collapsed": False,
        "gridPos": place,
        "panels": [],
    }


def _panel(number: int, panel: Panel, place: Json) -> Json:
    found = {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.help,
        "datasource": DATASOURCE,
        "gridPos": place,
        "targets": [_target(index, query, panel) for index, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
    }
    if panel.repeat:
        found |= {"repeat": panel.repeat, "repeatDirection": "h", "maxPerRow": WIDTH // panel.width}
    return found


def _target(index: int, query: Query, panel: Panel) -> Json:
    return {
        "refId": chr(ord("A") + index),
        "datasource": DATASOURCE,
        "expr": query.promql,
        "legendFormat": query.legend or "__auto",
        "instant": query.instant,
        "range": not query.instant,
        "format": "table" if panel.kind == "table" else "time_series",
    }


def _defaults(panel: Panel) -> Json:
    steps: list[Json] = [{"color": "green", "value": None}]
    custom: Json = {}
    if panel.kind == "timeseries":
        custom = {
            "lineWidth": 2,
            "fillOpacity": 60 if panel.stacked else 8,
            "showPoints": "never",
            "spanNulls": 5000,
        }
        custom["stacking"] = {"mode": "normal" if panel.stacked else "none", "group": "A"}
        if panel.limit is not None:
            steps.append({"color": "red", "value": panel.limit})
            custom["thresholdsStyle"] = {"mode": "dashed"}
    elif panel.kind == "state-timeline":
        custom = {"fillOpacity": 80, "lineWidth": 0}
    found: Json = {"unit": panel.unit, "custom": custom, "thresholds": {"mode": "absolute", "steps": steps}}
    if panel.minimum is not None:
        found["min"] = panel.minimum
    if panel.maximum is not None:
        found["max"] = panel.maximum
    return found | dict(panel.defaults)


def _options(panel: Panel) -> Json:
    found: Json = {}
    if panel.kind == "timeseries":
        found = {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    elif panel.kind == "stat":
        found = {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "textMode": "auto",
            "colorMode": "value",
            "graphMode": "area",
        }
    elif panel.kind == "state-timeline":
        found = {"mergeValues": True, "showValue": "never", "rowHeight": 0.8, "legend": {"showLegend": False}}
    return found | dict(panel.options)
