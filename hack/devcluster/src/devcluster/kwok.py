"""Fake nodes: pods bound to them get the status a kubelet would give, decided by their annotations.

| Annotation on the pod                         | Effect |
|-----------------------------------------------|--------------------------------------------------------------------|
| (none)                                        | Running and Ready as soon as it is scheduled; gone when
deleted | | `kwok.modelrollout.dev/ready-after: "3s"`     | Running at once, Ready that long after |
| `kwok.modelrollout.dev/never-ready: "true"`   | Running, not Ready; on a running pod: takes its readiness
away | | `kwok.modelrollout.dev/crash: "true"`         | CrashLoopBackOff with three restarts, not Ready |
| `kwok.modelrollout.dev/image-error: "true"`   | Pending with ImagePullBackOff |
| `kwok.modelrollout.dev/exit-code: "1"`        | A Job's pod ends with that code (0 if absent) |
| `kwok.modelrollout.dev/run-for: "5s"`         | A Job's pod runs that long first |

Each is honoured as a label as well, but for the two durations. Removing `never-ready` makes the pod Ready.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from devcluster.cluster import Cluster
from devcluster.errors import NotReadyError

PREFIX = "kwok.modelrollout.dev"
NEVER_READY = f"{PREFIX}/never-ready"
READY_AFTER = f"{PREFIX}/ready-after"
CRASH = f"{PREFIX}/crash"
IMAGE_ERROR = f"{PREFIX}/image-error"
EXIT_CODE = f"{PREFIX}/exit-code"
RUN_FOR = f"{PREFIX}/run-for"

NODE_ANNOTATION = ("kwok.x-k8s.io/node", "fake")
_NOW = "{{ Now | Quote }}"


def _flag(key: str) -> str:
    """Return a jq expression that is "true" where the pod carries the key as an annotation or a label."""
    return f'(.metadata.annotations["{key}"] // .metadata.labels["{key}"] // "false")'


def _is(key: str, *, not_in: bool = False, values: tuple[str, ...]) -> dict[str, Any]:
    return {"key": key, "operator": "NotIn" if not_in else "In", "values": list(values)}


def _set(key: str) -> dict[str, Any]:
    return _is(_flag(key), values=("true",))


def _unset(key: str) -> dict[str, Any]:
    return _is(_flag(key), not_in=True, values=("true",))


_LIVE = {"key": ".metadata.deletionTimestamp", "operator": "DoesNotExist"}
_PENDING = _is(".status.phase", values=("Pending",))
_RUNNING = _is(".status.phase", values=("Running",))
_READY = '.status.conditions.[] | select(.type == "Ready") | .status'
_OF_JOB = _is(".metadata.ownerReferences.[].kind", values=("Job",))
_NOT_OF_JOB = _is(".metadata.ownerReferences.[].kind", not_in=True, values=("Job",))
_NOT_STUCK = [_unset(CRASH), _unset(IMAGE_ERROR)]

_POD_ADDRESSES = 'PodIPsWith .spec.nodeName false (or .metadata.uid "") .metadata.name .metadata.namespace'
_ADDRESSES = f"""\
{{{{ with NodeIPsWith .spec.nodeName }}}}
hostIP: {{{{ index . 0 | Quote }}}}
{{{{ end }}}}
{{{{ with {_POD_ADDRESSES} }}}}
podIP: {{{{ index . 0 | Quote }}}}
podIPs:
{{{{ range . }}}}
- ip: {{{{ . | Quote }}}}
{{{{ end }}}}
{{{{ end }}}}
"""


def _conditions(ready: bool) -> str:
    lines = ["conditions:"]
    for kind, value in (("Initialized", True), ("ContainersReady", ready), ("Ready", ready)):
        lines += [f"- type: {kind}", f'  status: "{value}"', f"  lastTransitionTime: {_NOW}"]
        if not value:
            lines += ["  reason: ContainersNotReady"]
    return "\n".join(lines) + "\n"


def _containers(state: str, *, ready: bool, restarts: int = 0) -> str:
    return (
        "containerStatuses:\n"
        "{{ range .spec.containers }}\n"
        "- name: {{ .name | Quote }}\n"
        "  image: {{ .image | Quote }}\n"
        "  imageID: fake\n"
        f"  ready: {str(ready).lower()}\n"
        f"  started: {str(ready).lower()}\n"
        f"  restartCount: {restarts}\n"
        f"  state: {state}\n"
        "{{ end }}\n"
    )


_RUN = f"{{running: {{startedAt: {_NOW}}}}}"


def _stage(
    name: str, selector: list[dict[str, Any]], next_: dict[str, Any], delay: str | None = None
) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "resourceRef": {"apiGroup": "v1", "kind": "Pod"},
        "selector": {"matchExpressions": selector},
        "next": next_,
    }
    if delay is not None:
        spec["delay"] = {
            "durationMilliseconds": 0,
            "durationFrom": {"expressionFrom": f'.metadata.annotations["{delay}"]'},
        }
    return {"apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "Stage", "metadata": {"name": name}, "spec": spec}


def _status(
    name: str, selector: list[dict[str, Any]], template: str, delay: str | None = None
) -> dict[str, Any]:
    return _stage(name, [_LIVE, *selector], {"statusTemplate": template}, delay)


def _exit(name: str, phase: str, reason: str, matches: dict[str, Any]) -> dict[str, Any]:
    # Inside `range` the dot is the container, so the pod's annotation is read before.
    code = f'{{{{ $code := or ( index ( or .metadata.annotations dict ) "{EXIT_CODE}" ) "0" }}}}\n'
    when = f"startedAt: {_NOW}, finishedAt: {_NOW}"
    state = f"{{terminated: {{exitCode: {{{{ $code }}}}, reason: {reason}, {when}}}}}"
    template = code + _conditions(False) + _containers(state, ready=False) + f"phase: {phase}\n"
    return _status(name, [_RUNNING, _OF_JOB, *_NOT_STUCK, matches], template, RUN_FOR)


def stages() -> list[dict[str, Any]]:
    """Return the kwok Stage objects of this module's table, and those that make and keep the nodes ready."""
    start = f"startTime: {_NOW}\nphase: Running\n"
    ready = _conditions(True) + _containers(_RUN, ready=True)
    unready = _conditions(False) + _containers(_RUN, ready=False)
    back_off = "{waiting: {reason: CrashLoopBackOff, message: back-off restarting failed container}}"
    no_image = "{waiting: {reason: ImagePullBackOff, message: back-off pulling image}}"
    is_ready, not_ready = _is(_READY, values=("True",)), _is(_READY, not_in=True, values=("True",))
    slow = {"key": f'.metadata.annotations["{READY_AFTER}"]', "operator": "Exists"}
    prompt = {"key": f'.metadata.annotations["{READY_AFTER}"]', "operator": "DoesNotExist"}
    pending, running = [_PENDING, *_NOT_STUCK], [_RUNNING, *_NOT_STUCK]
    exit_code = f'(.metadata.annotations["{EXIT_CODE}"] // "0")'
    return [
        _status("pod-ready", [*pending, _unset(NEVER_READY), prompt], ready + _ADDRESSES + start),
        _status("pod-start-slow", [*pending, _unset(NEVER_READY), slow], unready + _ADDRESSES + start),
        _status("pod-start-unready", [*pending, _set(NEVER_READY)], unready + _ADDRESSES + start),
        _status(
            "pod-becomes-ready", [*running, _unset(NEVER_READY), not_ready, _NOT_OF_JOB], ready, READY_AFTER
        ),
        _status("pod-becomes-unready", [*running, _set(NEVER_READY), is_ready], unready),
        _status(
            "pod-crash",
            [
                _is(".status.phase", values=("Pending", "Running")),
                _set(CRASH),
                _is(".status.containerStatuses.[].restartCount", not_in=True, values=("3",)),
            ],
            _conditions(False) + _containers(back_off, ready=False, restarts=3) + _ADDRESSES + start,
        ),
        _status(
            "pod-image-error",
            [
                _PENDING,
                _set(IMAGE_ERROR),
                _is(
                    ".status.containerStatuses.[].state.waiting.reason",
                    not_in=True,
                    values=("ImagePullBackOff",),
                ),
            ],
            _conditions(False) + _containers(no_image, ready=False),
        ),
        _exit("job-succeeds", "Succeeded", "Completed", _is(exit_code, values=("0",))),
        _exit("job-fails", "Failed", "Error", _is(exit_code, not_in=True, values=("0",))),
        _stage(
            "pod-delete",
            [{"key": ".metadata.deletionTimestamp", "operator": "Exists"}],
            {"finalizers": {"empty": True}, "delete": True},
        ),
        _node_stage(),
    ]


def _node_stage() -> dict[str, Any]:
    # The status stays as written: the controller renews leases only, so nothing writes to nodes later.
    template = f"""\
phase: Running
conditions:
- {{type: Ready, status: "True", reason: KubeletReady, lastHeartbeatTime: {_NOW}, lastTransitionTime: {_NOW}}}
addresses:
- {{type: InternalIP, address: {{{{ NodeIP | Quote }}}}}}
- {{type: Hostname, address: {{{{ NodeName | Quote }}}}}}
capacity: {{cpu: 10k, memory: 100Ti, pods: 100k}}
allocatable: {{cpu: 10k, memory: 100Ti, pods: 100k}}
nodeInfo: {{architecture: amd64, operatingSystem: linux, kubeletVersion: fake, kubeProxyVersion: "",
  bootID: "",  containerRuntimeVersion: "", kernelVersion: "", machineID: "", osImage: "", systemUUID: ""}}
"""
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": "node-ready"},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": "Node"},
            "selector": {"matchExpressions": [_is(_READY, not_in=True, values=("True",))]},
            "next": {"statusTemplate": template},
        },
    }


def write_stages(path: Path) -> Path:
    """Write the stages as the configuration file of the kwok controller."""
    path.write_text("\n---\n".join(json.dumps(stage) for stage in stages()))
    return path


def arguments(kubeconfig: Path, stage_file: Path) -> list[str]:
    """Command line of the kwok controller, without the program."""
    return [
        f"--kubeconfig={kubeconfig}",
        f"--config={stage_file}",
        "--manage-all-nodes=false",
        f"--manage-nodes-with-annotation-selector={'='.join(NODE_ANNOTATION)}",
        "--node-ip=100.127.255.1",
        "--node-lease-duration-seconds=40",
    ]


def create_nodes(cluster: Cluster, count: int) -> None:
    """Register `count` fake nodes (at most 252), `fake-0` and up."""
    for index in range(count):
        name = f"fake-{index}"
        # A range of 16,384 addresses each, out of the shared address space (RFC 6598): no address is given
        # twice.
        pod_range = f"100.{64 + index // 4}.{index % 4 * 64}.0/18"
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": name,
                "annotations": dict([NODE_ANNOTATION]),
                "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "type": "kwok"},
            },
            "spec": {"podCIDR": pod_range, "podCIDRs": [pod_range]},
        }
        status, answer = cluster.request("POST", "/api/v1/nodes", node)
        if status != 201:
            raise NotReadyError(f"the API server refused the fake node {name} with {status}: {answer[:300]}")
