"""The frame: declared requirements, links that lead somewhere, commands that exist, steps that tell."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def declared(file: str) -> list[str]:
    """What a requirement file asks for by itself."""
    lines = (ROOT / file).read_text().splitlines()
    return [line for line in lines if line and not line.startswith(("#", "-r"))]


def test_packages_ask_for_what_is_pinned() -> None:
    operator = tomllib.loads((ROOT / "operator/pyproject.toml").read_text())["project"]
    server = tomllib.loads((ROOT / "inference-image/pyproject.toml").read_text())["project"]
    assert operator["dependencies"] == declared("operator/requirements-plugin.in")
    assert operator["optional-dependencies"]["operator"] == declared("operator/requirements.in")
    assert server["dependencies"] == declared("inference-image/requirements.in")
    assert server["optional-dependencies"]["train"] == declared("inference-image/requirements-train.in")


DOORS = {"tests/support/cluster_tool.py", "hack/demo/src/demo/builder.py"}
"""The one module of the tests and the one of the demo that import the tool for clusters."""


def importing(package: str, paths: list[str]) -> set[str]:
    """Those of the Python files that import a package."""
    named = re.compile(rf"^\s*(?:from|import) {package}\b", re.MULTILINE)
    return {path for path in paths if named.search((ROOT / path).read_text())}


def test_the_tool_for_clusters_is_used_through_one_module_and_uses_nothing_of_the_project() -> None:
    listed = subprocess.check_output(["git", "ls-files", "*.py"], cwd=ROOT, text=True).split()
    tracked = [path for path in listed if (ROOT / path).exists()]
    tool = [path for path in tracked if path.startswith("hack/devcluster/")]
    others = [path for path in tracked if path not in tool]
    assert importing("devcluster", others) == DOORS
    assert importing("(?:modelrollout|inference_server|demo|release|tests)", tool) == set()
    demo = [path for path in others if path.startswith("hack/demo/") and path not in DOORS]
    assert importing(r"demo\.builder", demo) == {"hack/demo/src/demo/preflight.py"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    targets = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", prose) if "://" not in link]
    assert [target for target in targets if target and not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_make_targets_named_in_a_page_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z0-9-]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z][a-z0-9-]*)", page.read_text(), re.MULTILINE))
    assert named <= targets


def test_every_target_of_the_makefile_is_explained() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = {name for line in re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE) for name in line.split()}
    helped = subprocess.run(
        ["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    listed = set(re.findall(r"^  \x1b\[1m([a-z0-9-]+)", helped, re.MULTILINE))
    assert phony == listed


def step(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ROOT / "hack/step"), "Doing it", *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_a_step_that_succeeds_is_one_line_with_its_time() -> None:
    done = step("sh", "-c", "echo noise")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"✓ Doing it \(\d+ s\)\n", done.stdout)


def side_by_side(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ROOT / "hack/side-by-side"), *command], capture_output=True, text=True, check=False, timeout=30
    )


def test_commands_side_by_side_run_at_the_same_time_and_each_line_names_its_own() -> None:
    done = side_by_side("one", "echo begun; sleep 0.5; echo ended", "two", "echo begun")
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.splitlines()) == ["one | begun", "one | ended", "two | begun"]
    assert done.stdout.index("two | begun") < done.stdout.index("one | ended")


def test_a_failure_side_by_side_is_named_and_ends_nothing_else() -> None:
    done = side_by_side("one", "exit 3", "two", "sleep 0.5; echo ended")
    assert done.returncode == 3
    assert "one failed with exit code 3" in done.stderr
    assert "two | ended" in done.stdout


def test_a_step_that_fails_shows_the_end_of_its_output_and_keeps_its_exit_code() -> None:
    done = step("sh", "-c", "echo the reason; exit 7")
    assert done.returncode == 7
    assert "Doing it failed" in done.stderr
    assert "the reason" in done.stderr


# -- the size and shape of the code --------------------------------------------------------------------

CODE = ("operator/src/modelrollout", "inference-image/src/inference_server")
MODULE_LINES, FUNCTION_LINES, PARAMETERS = 300, 40, 6
LONG_MODULES = {
    "inference_server/service.py",
    "inference_server/training/finetune.py",
}
LONG_FUNCTIONS = {
    "modelrollout/cli/backtesting.py backtest",
    "modelrollout/cli/report/data.py gather",
    "modelrollout/cluster/workloads/validation_jobs.py build_job",
    "inference_server/api/v2.py _add_models",
    "inference_server/metrics.py __init__",
    "inference_server/predictors/docdetector/rustdoc/tokens.py read",
    "inference_server/predictors/emotion/loading.py load_emotion",
    "inference_server/predictors/emotion/validation/logs.py tally_metrics",
}
MANY_PARAMETERS = {
    "modelrollout/api/conditions.py set_condition",
    "modelrollout/cli/backtesting.py backtest",
    "modelrollout/cluster/client.py request",
    "modelrollout/operator/controller.py __init__",
    "modelrollout/operator/reconcile.py __init__",
    "inference_server/loadgen/command.py loadgen",
    "inference_server/predictors/emotion/predictor.py __init__",
    "inference_server/predictors/emotion/training/cli.py train_emotion",
    "inference_server/predictors/suggestions/training/command.py train",
    "inference_server/predictors/emotion/validation/command.py logs",
}
SAME_NAMES = {"prometheus Answer"}
EXCEPTIONS = "take what is within the limit off the list of exceptions; mend what is new beyond it: {}"


def modules() -> dict[str, ast.Module]:
    """The syntax trees of the operator and the server, by path from the package on."""
    roots = [ROOT / code for code in CODE]
    return {
        str(path.relative_to(root.parent)): ast.parse(path.read_text())
        for root in roots
        for path in sorted(root.rglob("*.py"))
    }


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function with a name such as `package/module.py function`."""
    for path, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{path} {node.name}", node


def same(found: set[str], exceptions: set[str]) -> None:
    """Compare with the list of exceptions, which only shrinks."""
    assert found == exceptions, EXCEPTIONS.format(sorted(found ^ exceptions))


def test_no_module_is_long() -> None:
    lengths = {
        str(path.relative_to((ROOT / code).parent)): len(path.read_text().splitlines())
        for code in CODE
        for path in (ROOT / code).rglob("*.py")
    }
    same({path for path, length in lengths.items() if length > MODULE_LINES}, LONG_MODULES)


def test_no_function_is_long() -> None:
    long = {
        name
        for name, node in functions()
        if (node.end_lineno or node.lineno) - node.lineno + 1 > FUNCTION_LINES
    }
    same(long, LONG_FUNCTIONS)


def test_no_function_has_many_parameters() -> None:
    many = set()
    for name, node in functions():
        parameters = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        if len([each for each in parameters if each.arg not in ("self", "cls")]) > PARAMETERS:
            many.add(name)
    same(many, MANY_PARAMETERS)


def test_no_two_public_classes_of_a_package_have_one_name() -> None:
    places: dict[str, set[str]] = {}
    for path, tree in modules().items():
        package = path.split("/")[1]
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(f"{package} {node.name}", set()).add(path)
    same({name for name, paths in places.items() if len(paths) > 1}, SAME_NAMES)


def test_decisions_assert_nothing_about_their_inputs() -> None:
    """A context has a spec and a stage has its record: mypy sees it, and nothing is left to be asserted."""
    asserting = [
        f"{path}:{node.lineno}"
        for path, tree in modules().items()
        if path.startswith("modelrollout/decision/")
        for node in ast.walk(tree)
        if isinstance(node, ast.Assert)
    ]
    assert asserting == []
