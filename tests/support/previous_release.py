"""The release before this one, whose operator an upgrade starts from and a rollback returns to.

Made from the source that it had, kept in tests/data as docs/release.md says: a clone may have no history.
"""

from __future__ import annotations

import re
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from demo.images import OPERATOR, ROOT, ProjectImage

ARCHIVES = ROOT / "tests" / "data"


@dataclass(frozen=True)
class PreviousRelease:
    """Its source, unpacked into a directory."""

    version: str
    directory: Path

    @classmethod
    def unpack(cls, directory: Path) -> Self:
        """Unpack it; there is one archive of one release."""
        (archive,) = ARCHIVES.glob("modelrollout-*.tar.xz")
        with tarfile.open(archive) as source:
            source.extractall(directory, filter="data")
        # Today's Dockerfile: with the same lock the layer of packages is there already.
        shutil.copy(ROOT / OPERATOR.dockerfile, directory / OPERATOR.dockerfile)
        version = archive.name.removeprefix("modelrollout-").removesuffix(".tar.xz")
        return cls(version, directory)

    @property
    def commit(self) -> str:
        """The commit that it was made from, as `git archive` notes it."""
        (archive,) = ARCHIVES.glob("modelrollout-*.tar.xz")
        with tarfile.open(archive) as source:
            return str(source.pax_headers["comment"])

    @property
    def chart(self) -> Path:
        """The operator's chart."""
        return self.directory / "charts" / "modelrollout"

    @property
    def chart_version(self) -> str:
        """The version that the chart names."""
        found = re.search(r"^version: (\S+)$", (self.chart / "Chart.yaml").read_text(), re.MULTILINE)
        assert found is not None, self.chart
        return found[1]

    @property
    def operator(self) -> ProjectImage:
        """The operator's image, to be built."""
        return ProjectImage(OPERATOR.name, OPERATOR.dockerfile, self.directory)
