"""Queries in, samples out: the only module that talks to Prometheus."""

from modelrollout.prometheus.client import PrometheusClient, RequestHooks
from modelrollout.prometheus.errors import FailureKind, PrometheusError, TemplateError, UnknownTargetError
from modelrollout.prometheus.evaluator import Answer, Evaluator, EvaluatorOptions
from modelrollout.prometheus.queries import CriterionQuery, RolloutQueries, build_query, build_rollout
from modelrollout.prometheus.request_queue import Limits
from modelrollout.prometheus.samples import error_sample
from modelrollout.prometheus.targets import PrometheusTarget, PrometheusTargets, TargetAuth
from modelrollout.prometheus.templating import QueryContext, pod_regex

__all__ = [
    "Answer",
    "CriterionQuery",
    "Evaluator",
    "EvaluatorOptions",
    "FailureKind",
    "Limits",
    "PrometheusClient",
    "PrometheusError",
    "PrometheusTarget",
    "PrometheusTargets",
    "QueryContext",
    "RequestHooks",
    "RolloutQueries",
    "TargetAuth",
    "TemplateError",
    "UnknownTargetError",
    "build_query",
    "build_rollout",
    "error_sample",
    "pod_regex",
]
