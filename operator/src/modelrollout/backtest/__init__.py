"""The operator's own decisions over past ranges of Prometheus, with a virtual clock."""

from modelrollout.backtest.firings import Course, Firing
from modelrollout.backtest.rehearsal import Outcome, Span
from modelrollout.backtest.runner import BacktestError, BacktestReport, CriterionReport, Question, run
from modelrollout.backtest.tracks import Clock

__all__ = [
    "BacktestError",
    "BacktestReport",
    "Clock",
    "Course",
    "CriterionReport",
    "Firing",
    "Outcome",
    "Question",
    "Span",
    "run",
]
