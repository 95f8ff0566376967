"""Names that appear on objects in the cluster: group, labels, annotations, finalizer."""

from typing import Final

GROUP: Final = "modelrollout.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "ModelRollout"
LIST_KIND: Final = "ModelRolloutList"
PLURAL: Final = "modelrollouts"
SINGULAR: Final = "modelrollout"
SHORT_NAME: Final = "mro"
CATEGORIES: Final = ("all", "ml")

FINALIZER: Final = f"{GROUP}/return-traffic"
"""Held while a run is under way or copies of stable are left: deletion first puts all traffic back on stable,
then the operator deletes its copies."""

COMMANDS_ANNOTATION: Final = f"{GROUP}/commands"
"""What people asked for, a list; see `modelrollout.api.commands`."""
COMMAND_ANNOTATION: Final = f"{GROUP}/command"
"""One command, for people without the plugin; a second one replaces it."""

LABEL_ROLLOUT: Final = f"{GROUP}/rollout"
"""On everything the operator creates: the name of the ModelRollout."""
LABEL_RUN: Final = f"{GROUP}/run"
"""On everything that belongs to one run: the id of the run."""
LABEL_ROLE: Final = f"{GROUP}/role"
"""candidate, shadow or validation; on the operator's own pods: operator."""
LABEL_VERSION: Final = f"{GROUP}/version"
"""On Deployments (and their pods) that the operator made: the fingerprint of the candidate."""
ANNOTATION_OWNER: Final = f"{GROUP}/rollout-uid"
"""On Deployments that the operator made: the uid of the ModelRollout. They have no owner reference, so that
none of them ends before the traffic is back on stable."""
LABEL_PARKED: Final = f"{GROUP}/parked"
"""On pods of stable that are kept running outside the Service: the name of the ModelRollout."""
ANNOTATION_PARKED: Final = f"{GROUP}/parked"
"""On the same pods, JSON: their Deployment, and the label (key, value) that was changed to park them."""
PARKED_VALUE: Final = "modelrollout-parked"
"""The value of that label while a pod is parked."""
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
MANAGED_BY: Final = "modelrollout"

ROLE_CANDIDATE: Final = "candidate"
ROLE_SHADOW: Final = "shadow"
ROLE_VALIDATION: Final = "validation"
ROLE_OPERATOR: Final = "operator"

SHADOW_SUFFIX: Final = "-shadow"
"""The shadow Service of a rollout is called `<rollout>-shadow`."""
CANDIDATE_SUFFIX: Final = "-candidate"
"""The Service that reaches only candidate pods is called `<rollout>-candidate`."""
CANDIDATE_URL_VARIABLE: Final = "CANDIDATE_URL"
"""Environment variable that every validation Job gets."""

HISTORY_LIMIT: Final = 10
"""Finished runs kept in status."""
HANDLED_COMMANDS_LIMIT: Final = 20
"""Ids of handled commands kept in status, so that no command acts twice."""
COMMANDS_LIMIT: Final = 10
"""Commands that the list holds; fewer than the ids in status, so that none in it is ever forgotten."""
