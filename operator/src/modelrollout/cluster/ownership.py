"""Whose an object is: what the operator made carries the uid of its ModelRollout, and only that is touched.

A name proves nothing: somebody else may have an object under it, and one of a ModelRollout that was deleted
and created again is not the new one's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelrollout.cluster.errors import AlreadyExistsError, ConflictError, NotFoundError
from modelrollout.cluster.fence import FencedApi
from modelrollout.cluster.views import owner_uid
from modelrollout.cluster.workloads.candidate import CopyError
from modelrollout.cluster.writer import RolloutRef


class NameTakenError(CopyError):
    """An object of somebody else has the name of one that is to be made. It is left as it is.

    Attributes:
        path: Where it is.
    """

    def __init__(self, *, kind: str, name: str, path: str, owner: RolloutRef) -> None:
        super().__init__(
            f"{kind} {name} exists and was not made for this ModelRollout, which needs that name, so it is "
            f"left as it is: delete or rename it, or give ModelRollout {owner.name} another name"
        )
        self.path = path


async def is_taken(api: FencedApi, path: str, owner: RolloutRef) -> bool:
    """Tell whether an object that is not the rollout's is at that path."""
    try:
        return owner_uid((await api.get(path))["metadata"]) != owner.uid
    except NotFoundError:
        return False


async def create_owned(api: FencedApi, collection: str, body: Mapping[str, Any], owner: RolloutRef) -> None:
    """Create an object; one of that name that is the rollout's already is the same one.

    Raises:
        NameTakenError: One of that name is somebody else's.
        ApiError: Refused.
    """
    try:
        await api.request("POST", collection, body=body)
    except AlreadyExistsError:
        name = str(body["metadata"]["name"])
        path = f"{collection}/{name}"
        if await is_taken(api, path, owner):
            raise NameTakenError(kind=str(body["kind"]), name=name, path=path, owner=owner) from None


async def delete_owned(api: FencedApi, path: str, *, uid: str) -> None:
    """Delete the object of that uid with what it owns.

    Another one of its name stays, a missing one is fine.
    """
    options = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
    try:
        await api.request("DELETE", path, body=options)
    except (NotFoundError, ConflictError):
        return
