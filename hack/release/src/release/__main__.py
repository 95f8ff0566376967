"""`make dist`: writes all files of a release into one directory.

python -m release [--out dist] [--without-images] [--image-repository NAME] [--operator-digest D]
                  [--inference-server-digest D] [--url ADDRESS]
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from demo.errors import CommandError, MachineError
from release import charts, images, plugin, sboms, wheels
from release.plan import Plan, ReleaseError, difference, epoch, sha256

SUMS = "SHA256SUMS"


def main(arguments: list[str] | None = None) -> int:
    """Make the files; the exit code."""
    options = _options(arguments)
    try:
        digests = {"operator": options.operator_digest, "inference-server": options.inference_server_digest}
        plan = Plan(
            out=options.out.resolve(),
            epoch=epoch(),
            repository=options.image_repository or None,
            digests={name: digest for name, digest in digests.items() if digest},
            url=options.url or None,
        )
        for path in make(plan, with_images=not options.without_images):
            print(f"{path.stat().st_size:>12,}  {path.relative_to(plan.out.parent)}")
        if changed := difference():
            print(f"make dist: {changed}", file=sys.stderr)
    except (ReleaseError, MachineError, CommandError, OSError) as error:
        print(f"make dist: {error}", file=sys.stderr)
        return 1
    return 0


def make(plan: Plan, *, with_images: bool = True) -> list[Path]:
    """Make all files anew; their paths, the list of checksums last.

    Raises:
        ReleaseError: A step failed.
        MachineError: No Docker daemon, or an image could not be built.
    """
    if plan.out.exists() and any(plan.out.iterdir()) and not (plan.out / SUMS).is_file():
        raise ReleaseError(f"{plan.out} holds files that `make dist` did not make: name another directory")
    shutil.rmtree(plan.out, ignore_errors=True)
    plan.out.mkdir(parents=True)
    steps: list[Callable[[Plan], list[Path]]] = [wheels.write, charts.write, plugin.write, sboms.write]
    if with_images:
        steps.append(images.write)
    made = sorted(path for step in steps for path in step(plan))
    sums = plan.out / SUMS
    sums.write_text("".join(f"{sha256(path)}  {path.name}\n" for path in made))
    return [*made, sums]


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m release", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("dist"), help="directory (default: dist)")
    parser.add_argument("--without-images", action="store_true", help="all but the images")
    parser.add_argument("--image-repository", help="where the images will be pulled from")
    parser.add_argument("--operator-digest", help="digest of the operator's image there")
    parser.add_argument("--inference-server-digest", help="digest of the inference server's image there")
    parser.add_argument("--url", help="where the files will be downloaded from")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
