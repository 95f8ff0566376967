"""The command `backtest`: a rollout against the past of Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import yaml
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from modelrollout.api.constants import KIND
from modelrollout.api.criteria import Criterion
from modelrollout.api.spec import ModelRolloutSpec
from modelrollout.backtest import (
    BacktestError,
    BacktestReport,
    Clock,
    Course,
    CriterionReport,
    Question,
    Span,
)
from modelrollout.backtest import run as replay
from modelrollout.cli.client import Target, dumps
from modelrollout.cli.lint import lint_text, read_text
from modelrollout.cli.prometheus import prometheus_client, prometheus_options
from modelrollout.cli.session import show
from modelrollout.cli.text import exact, readable, value_text
from modelrollout.cli.types import DURATION, TIME
from modelrollout.decision import is_finite
from modelrollout.prometheus import PrometheusError

OUTCOME_COLOURS = {"Succeeded": "green", "RolledBack": "red"}


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "--from", "start", type=TIME, required=True, help="Begin: 2026-03-01T12:00:00Z, or 30d for 30 days ago."
)
@click.option("--to", "end", type=TIME, default="now", show_default=True, help="End.")
@click.option(
    "--resolution",
    type=DURATION,
    help="Time between evaluations; by default 1m, or spec.evaluation.interval for ranges under six hours.",
)
@click.option("--stable", help="Deployment that was stable then, if not spec.stable.deployment.")
@click.option(
    "--candidate",
    help="Deployment whose past is taken for the candidate's; needed where the operator makes a copy.",
)
@click.option(
    "-o", "--output", "form", type=click.Choice(["json", "yaml"]), help="Print data instead of tables."
)
@prometheus_options(required=True)
@click.pass_obj
def backtest(  # noqa: PLR0913 - one parameter for each option
    target: Target,
    /,
    *,
    file: str,
    start: datetime,
    end: datetime,
    resolution: float | None,
    stable: str | None,
    candidate: str | None,
    form: str | None,
    **server: Any,
) -> None:
    """Replay a rollout over the past: when each criterion would have fired, and how often on stable.

    FILE is a ModelRollout. The operator's own decisions are made again over what Prometheus recorded. A
    firing on the stable version is a false alarm. Exit code 0 whatever comes out.
    """
    manifest = _manifest(file)
    spec = ModelRolloutSpec.model_validate(manifest["spec"])
    client = prometheus_client(**server)
    try:
        question = Question(
            name=manifest["metadata"]["name"],
            namespace=manifest["metadata"].get("namespace") or target.namespace,
            spec=spec,
            clock=_clock(spec, start, end, resolution),
            stable=stable,
            candidate=candidate,
        )
        began = time.monotonic()
        found = replay(question, client)
        seconds = time.monotonic() - began
    except (BacktestError, PrometheusError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    finally:
        client.close()
    if form:
        click.echo(dumps(as_data(found), form))
    else:
        show(tables(found, seconds))


def _manifest(file: str) -> dict[str, Any]:
    """Return the one ModelRollout of a file; what lint says of it is an error."""
    text = read_text(file)
    count, findings = lint_text(text, features=False)
    if findings:
        told = "\n".join(f"{file}:{each.line}: {each.path}: {each.message}" for each in findings)
        raise click.ClickException(f"the manifest is not valid\n{told}")
    if count != 1:
        raise click.ClickException(f"expected one ModelRollout in {file}, found {count}")
    documents = (each for each in yaml.safe_load_all(text) if isinstance(each, dict))
    return next(each for each in documents if each.get("kind") == KIND)


def _clock(spec: ModelRolloutSpec, start: datetime, end: datetime, resolution: float | None) -> Clock:
    short = end - start < timedelta(hours=6)
    step = resolution or (spec.evaluation.interval.seconds if short else 60.0)
    return Clock(start=start.astimezone(UTC), end=end.astimezone(UTC), step=timedelta(seconds=step))


def as_data(report: BacktestReport) -> dict[str, Any]:
    """Return the report as JSON."""
    clock, outcome = report.question.clock, report.outcome
    return {
        "name": report.question.name,
        "namespace": report.question.namespace,
        "from": _iso(clock.start),
        "to": _iso(clock.end),
        "resolutionSeconds": clock.step.total_seconds(),
        "stable": report.stable,
        "candidate": report.candidate,
        "outcome": {
            "phase": outcome.phase.value,
            "at": _iso(outcome.at),
            "reason": outcome.reason,
            "message": outcome.message,
            "criterion": outcome.criterion,
            "steps": [_span_data(span) for span in outcome.spans],
            "events": [
                {"at": _iso(each.at), "reason": each.transition.reason, "message": each.transition.message}
                for each in outcome.events
            ],
        },
        "plan": [_span_data(span) for span in report.plan],
        "criteria": [_criterion_data(report, each) for each in report.criteria],
    }


def _criterion_data(report: BacktestReport, each: CriterionReport) -> dict[str, Any]:
    clock = report.question.clock
    by_step = report.firings_by_step(each.name)
    return {
        "name": each.name,
        "problem": each.problem,
        "firings": _firings(clock, each.candidate),
        "firingsByStep": [
            {"step": span.index, "weight": span.weight, "firings": by_step.get(span.index, 0)}
            for span in report.plan
        ],
        "states": {state.value: ticks for state, ticks in each.candidate.ticks.items()}
        if each.candidate
        else None,
        "onStable": _firings(clock, each.stable),
        "falseAlarmsPerWeek": each.false_alarms_per_week(clock),
    }


def _firings(clock: Clock, course: Course | None) -> list[dict[str, Any]] | None:
    if course is None:
        return None
    return [
        {
            "at": _iso(clock.at(firing.tick)),
            "until": None if firing.until is None else _iso(clock.at(firing.until)),
            "action": firing.action.value,
            "value": firing.value if firing.value is None or is_finite(firing.value) else None,
            "limit": firing.limit,
            "message": firing.message,
        }
        for firing in course.firings
    ]


def _span_data(span: Span) -> dict[str, Any]:
    return {
        "step": span.index,
        "weight": span.weight,
        "start": _iso(span.start),
        "end": None if span.end is None else _iso(span.end),
    }


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def tables(report: BacktestReport, seconds: float) -> RenderableType:
    """Return the report for a terminal: outcome, criteria, firings."""
    clock = report.question.clock
    head = Text.assemble(
        f"{report.candidate} against {report.stable}, {_minute(clock.start)} to {_minute(clock.end)} UTC",
        (f"  ({clock.ticks:,} evaluations every {exact(clock.step)}, replayed in {seconds:.1f} s)", "dim"),
    )
    parts: list[RenderableType] = [head, Text(), *_outcome(report), Text(), _criteria(report)]
    problems = [
        Text(f"  {each.name}: {each.problem}", style="dim") for each in report.criteria if each.problem
    ]
    if problems:
        parts += [Text(), *problems]
    fired = [each for each in report.criteria if each.candidate and each.candidate.firings]
    if fired:
        parts += [Text(), _firing_table(report, fired)]
    return Group(*parts)


def _outcome(report: BacktestReport) -> Iterator[RenderableType]:
    outcome = report.outcome
    word = Text(outcome.phase.value, style=f"bold {OUTCOME_COLOURS.get(outcome.phase.value, 'yellow')}")
    yield Text.assemble("Outcome: ", word, f" at {_second(outcome.at)}.")
    if outcome.message:
        yield Text(f"  {readable(outcome.message, outcome.at)}")
    steps = [f"{span.weight} % {_second(span.start)}" for span in outcome.spans]
    if steps:
        yield Text(f"  {' → '.join(steps)}", style="dim")


def _criteria(report: BacktestReport) -> Table:
    """Return how often each criterion fires in each step of the plan, and on stable."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("  CRITERION", no_wrap=True)
    for span in report.plan:
        table.add_column(
            "OBSERVING" if span.index is None else f"{span.weight} %", justify="right", no_wrap=True
        )
    for column in ("FIRST", "FALSE ALARMS/WEEK"):
        table.add_column(column, no_wrap=True)
    clock = report.question.clock
    for each in report.criteria:
        by_step = report.firings_by_step(each.name)
        firings = each.candidate.firings if each.candidate else ()
        counts = [
            Text("-" if each.candidate is None else str(count), style="red" if count else "dim")
            for count in (by_step.get(span.index, 0) for span in report.plan)
        ]
        alarms = each.false_alarms_per_week(clock)
        table.add_row(
            f"  {each.name}",
            *counts,
            _second(clock.at(firings[0].tick)) if firings else "never" if each.candidate else "-",
            "-" if alarms is None else Text(f"{alarms:.3g}", style="red" if alarms else "green"),
        )
    return table


def _firing_table(report: BacktestReport, fired: list[CriterionReport]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("  FIRED AT", "UNTIL", "CRITERION", "STEP", "DOES", "VALUE"):
        table.add_column(column, no_wrap=True)
    table.add_column("LIMIT", overflow="fold")
    known: dict[str, Criterion] = {each.name: each for each in report.question.spec.criteria}
    clock = report.question.clock
    rows = sorted(
        (firing for each in fired if each.candidate for firing in each.candidate.firings),
        key=lambda firing: firing.tick,
    )
    for firing in rows:
        span = report.span_at(clock.at(firing.tick))
        place = "-" if span is None else "observing" if span.index is None else f"{span.weight} %"
        table.add_row(
            f"  {_second(clock.at(firing.tick))}",
            "-" if firing.until is None else f"{clock.at(firing.until):%H:%M:%S}",
            firing.criterion,
            place,
            firing.action.value,
            value_text(known.get(firing.criterion), firing.value),
            firing.limit,
        )
    return table


def _minute(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M}"


def _second(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
