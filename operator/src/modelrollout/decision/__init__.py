"""What to do next with one rollout: a pure function of what is asked for, remembered and observed."""

from modelrollout.decision.context import Stage
from modelrollout.decision.copies import other_copies
from modelrollout.decision.decide import decide
from modelrollout.decision.evaluation import due_baselines, due_criteria, needs_history
from modelrollout.decision.limits import (
    CriterionLimit,
    criterion_limit,
    format_value,
    is_finite,
    special_text,
)
from modelrollout.decision.names import (
    candidate_deployment,
    copy_name,
    fingerprint,
    job_name,
    run_id,
    shadow_name,
    shadow_version,
)
from modelrollout.decision.reach import ends_rollback, rests_on_endpoints
from modelrollout.decision.result import watched_deployments
from modelrollout.decision.stages import stage_of
from modelrollout.decision.versions import is_rejected

__all__ = [
    "CriterionLimit",
    "Stage",
    "candidate_deployment",
    "copy_name",
    "criterion_limit",
    "decide",
    "due_baselines",
    "due_criteria",
    "ends_rollback",
    "fingerprint",
    "format_value",
    "is_finite",
    "is_rejected",
    "job_name",
    "needs_history",
    "other_copies",
    "rests_on_endpoints",
    "run_id",
    "shadow_name",
    "shadow_version",
    "special_text",
    "stage_of",
    "watched_deployments",
]
