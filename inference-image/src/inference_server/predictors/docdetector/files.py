"""Which files of a tree a counting mode looks at, and the .gitignore files on the way."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from pathspec import GitIgnoreSpec

from inference_server.predictors.docdetector.items import Language
from inference_server.predictors.docdetector.modes import Mode

SUFFIXES: Final = {
    ".py": Language.PYTHON,
    ".pyi": Language.PYTHON,
    ".pyw": Language.PYTHON,
    ".rs": Language.RUST,
}
_RUFF_EXCLUDES: Final = frozenset(
    {
        *(
            ".bzr",
            ".direnv",
            ".eggs",
            ".git",
            ".git-rewrite",
            ".hg",
            ".ipynb_checkpoints",
            ".mypy_cache",
            ".nox",
        ),
        *(
            ".pants.d",
            ".pyenv",
            ".pytest_cache",
            ".pytype",
            ".ruff_cache",
            ".svn",
            ".tox",
            ".venv",
            ".vscode",
        ),
        *("__pypackages__", "_build", "buck-out", "dist", "node_modules", "site-packages", "venv"),
    }
)
_INTERROGATE_EXCLUDES: Final = (".tox", ".venv", "venv", ".git", ".hg")
_ALWAYS_EXCLUDED: Final = frozenset({".git", ".hg", ".svn"})


def language_of(path: Path) -> Language:
    """Return the language of a file by its name."""
    return SUFFIXES.get(path.suffix.lower(), Language.OTHER)


def find(paths: Sequence[Path], mode: Mode, *, gitignore: bool | None = None) -> Iterator[Path]:
    """Yield the files that a mode looks at, by name. Links to directories are not followed.

    Args:
        paths: Files, which are taken as they are, and directories.
        mode: Each mode leaves out what its tool leaves out.
        gitignore: Whether .gitignore files are obeyed; by default as the mode's tool does it.
    """
    for path in paths:
        if path.is_dir():
            yield from _tree(path, mode, gitignore)
        else:
            yield path


def _tree(root: Path, mode: Mode, gitignore: bool | None) -> Iterator[Path]:
    suffixes = _suffixes(mode)
    ignores = _Ignores(root, mode, gitignore)
    for directory, names, files in os.walk(root):
        here = Path(directory)
        ignores.enter(here)
        names[:] = sorted(name for name in names if not _is_excluded(root, here / name, mode, ignores))
        for name in sorted(files):
            path = here / name
            if path.suffix.lower() not in suffixes or (mode is Mode.INTERROGATE and not name.endswith(".py")):
                continue
            if not _is_excluded(root, path, mode, ignores, is_directory=False):
                yield path


def _suffixes(mode: Mode) -> frozenset[str]:
    if mode is Mode.AST:
        return frozenset(SUFFIXES)
    if mode is Mode.RUSTDOC:
        return frozenset({".rs"})
    return frozenset({".py"} if mode is Mode.INTERROGATE else {".py", ".pyi"})


def _is_excluded(root: Path, path: Path, mode: Mode, ignores: _Ignores, *, is_directory: bool = True) -> bool:
    if mode is Mode.INTERROGATE:
        # It compares the beginnings of names at the root: venv also excludes venv.py and venvs/.
        relative = str(path.relative_to(root))
        if any(fnmatch.fnmatch(relative, f"{name}*") for name in _INTERROGATE_EXCLUDES):
            return True
    elif path.name in (_RUFF_EXCLUDES if mode is Mode.RUFF else _ALWAYS_EXCLUDED):
        return True
    return ignores(path, is_directory=is_directory)


class _Ignores:
    """The .gitignore files that hold in a tree: those in it, and those above it in the same repository."""

    def __init__(self, root: Path, mode: Mode, wanted: bool | None) -> None:
        self._specs: dict[Path, GitIgnoreSpec] = {}
        top = _repository(root)
        if wanted is None:
            # interrogate knows no .gitignore, and ruff obeys it only inside a repository.
            wanted = mode is not Mode.INTERROGATE and (mode is not Mode.RUFF or top is not None)
        self._obeyed = wanted
        self._top = top or root.absolute()
        if wanted and top is not None:
            above = root.absolute().parent
            while above == self._top or self._top in above.parents:
                self.enter(above)
                above = above.parent
            if self(root, is_directory=True):
                # Who names a directory that is ignored wants it counted.
                self._specs.clear()

    def enter(self, directory: Path) -> None:
        """Read the file of a directory, if it has one."""
        if not self._obeyed:
            return
        path = directory / ".gitignore"
        try:
            if not path.is_file():  # a pipe would be waited for
                return
            # As git splits them: other characters that end a line elsewhere belong to a pattern.
            lines = path.read_bytes().decode("utf-8-sig", errors="surrogateescape").split("\n")
        except OSError:
            return
        patterns = [pattern for line in lines if _is_pattern(pattern := line.removesuffix("\r"))]
        self._specs[directory.absolute()] = GitIgnoreSpec.from_lines(patterns)

    def __call__(self, path: Path, *, is_directory: bool) -> bool:
        """Tell whether a path is ignored: the nearest file with a pattern for it decides."""
        if not self._specs:
            return False
        path = path.absolute()
        for directory in path.parents:
            spec = self._specs.get(directory)
            if spec is not None:
                relative = path.relative_to(directory).as_posix() + ("/" if is_directory else "")
                decided = spec.check_file(relative).include
                if decided is not None:
                    return decided
            if directory == self._top:
                break
        return False


def _is_pattern(line: str) -> bool:
    """Tell whether a line can be used; git passes over one that it cannot, and uses the others."""
    try:
        GitIgnoreSpec.from_lines([line])
    except (ValueError, re.error):
        return False
    return True


def _repository(path: Path) -> Path | None:
    """Return the root of the repository that a path is in."""
    path = path.absolute()
    return next((one for one in (path, *path.parents) if (one / ".git").exists()), None)
