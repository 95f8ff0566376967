"""Which tests of tests/cluster FAULTS=SEED leaves out, and why: they assert what the faults change."""

from __future__ import annotations

from typing import Final

NO_OPERATOR: Final = "no operator takes part, or what it does is not what is tested"
OWN_PROXY: Final = "has a fault proxy of its own"
OWN_CRASHES: Final = "ends operators itself and says who acts when: a crash in between changes that"
COUNTS: Final = "counts requests, log lines or deliveries: each fault adds some"
TIMES: Final = "says how long something takes, or has to hit a moment: each fault takes time"

FILES: Final = {
    "operator/test_api_scenario_34_invalid_manifests.py": NO_OPERATOR,
    "operator/test_operator_metrics.py": COUNTS,
    "operator/test_operator_replicas.py": OWN_CRASHES,
    "operator/test_operator_stale.py": OWN_PROXY,
    "operator/test_operator_write_order.py": OWN_PROXY,
    "scenarios/test_acceptance_kills.py": OWN_CRASHES,
    "scenarios/test_acceptance_leaders.py": OWN_CRASHES,
    "scenarios/test_acceptance_rights.py": "a right that is lost before the first list is another test",
    "scenarios/test_chart_cluster.py": NO_OPERATOR,
    "scenarios/test_cli_verbs.py": NO_OPERATOR,
    "scenarios/test_docs_commands.py": NO_OPERATOR,
    "scenarios/test_faults_named.py": OWN_PROXY,
}
"""Files below tests/cluster of which no test takes part."""

TESTS: Final = {
    "test_nothing_is_written_while_nothing_changes": COUNTS,
    "test_webhooks_hear_of_the_transitions_they_asked_for": COUNTS,
    "test_each_transition_reaches_the_webhook_and_is_tried_again_after_a_500": COUNTS,
    "test_the_operator_writes_nothing_while_nothing_changes": COUNTS,
    "test_a_webhook_that_never_answers_delays_nothing": TIMES,
    "test_scenario_06_a_spike_shorter_than_for_does_not_revert": TIMES,
    "test_scenario_15_a_validation_over_its_timeout_is_ended_and_stops_the_run": TIMES,
    "test_scenario_16_an_image_that_cannot_be_pulled_is_reported_within_a_minute_and_not_passed": TIMES,
    "test_an_operator_killed_while_pods_are_parked_still_brings_them_back": OWN_CRASHES,
    "test_scenario_37_an_unreachable_then_failing_api_server_changes_nothing_in_the_end": OWN_PROXY,
    "test_scenario_39_of_two_replicas_one_acts_and_the_other_takes_over": OWN_CRASHES,
    "test_validations_run_exactly_once_per_step_and_run_while_the_operator_is_killed": OWN_CRASHES,
}
"""Single tests of the other files."""


def reason(node: str) -> str:
    """Why a test is left out, by its id; empty where it takes part."""
    path, _, test = node.partition("::")
    name = test.partition("[")[0].partition("@")[0]
    return FILES.get(path.partition("tests/cluster/")[2]) or TESTS.get(name) or ""
