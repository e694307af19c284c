"""The files around the code: workflows, dependency groups, the name on the package index."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

#: Keys of GitHub's workflow schema (json.schemastore.org/github-workflow).
WORKFLOW_KEYS = {"name", "run-name", "on", "permissions", "env", "defaults", "concurrency", "jobs"}
JOB_KEYS = {
    "name", "permissions", "needs", "if", "runs-on", "environment", "concurrency", "outputs", "env", "defaults", "steps",
    "timeout-minutes", "strategy", "continue-on-error", "container", "services",
}  # fmt: skip
STEP_KEYS = {"id", "if", "name", "uses", "run", "working-directory", "shell", "with", "env", "continue-on-error", "timeout-minutes"}
EVENTS = {"push", "pull_request", "release", "schedule", "workflow_dispatch"}
PERMISSIONS = {"contents", "id-token", "pages"}


def load_yaml(path: Path) -> dict[str, Any]:
    content = yaml.safe_load(path.read_text())
    assert isinstance(content, dict), path
    # YAML 1.1 reads the key `on` as true; GitHub does not.
    return {"on" if key is True else key: value for key, value in content.items()}


def test_there_are_workflows() -> None:
    assert [path.stem for path in WORKFLOWS] == ["ci", "docs", "release"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_follows_the_schema(path: Path) -> None:
    workflow = load_yaml(path)
    assert workflow.keys() <= WORKFLOW_KEYS and {"on", "jobs", "permissions"} <= workflow.keys()
    assert set(workflow["on"]) <= EVENTS
    jobs = workflow["jobs"]
    for name, job in jobs.items():
        assert re.fullmatch(r"[A-Za-z_][\w-]*", name), name
        assert job.keys() <= JOB_KEYS and {"runs-on", "steps"} <= job.keys(), name
        assert set(job.get("permissions", {})) <= PERMISSIONS, name
        needs = job.get("needs", [])
        assert set([needs] if isinstance(needs, str) else needs) <= jobs.keys(), name
        for step in job["steps"]:
            assert step.keys() <= STEP_KEYS and len({"uses", "run"} & step.keys()) == 1, (name, step)
            assert "with" not in step or "uses" in step, (name, step)
            assert "uses" not in step or re.fullmatch(r"[\w.-]+/[\w./-]+@[\w./-]+", step["uses"]), (name, step)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_expressions_name_what_exists(path: Path) -> None:
    """`matrix.KEY` is a key of every row of the matrix of that job."""
    for job in load_yaml(path)["jobs"].values():
        rows = job.get("strategy", {}).get("matrix", {}).get("include", [])
        for key in re.findall(r"\bmatrix\.(\w+)", str(job)):
            assert rows and all(key in row for row in rows), key
        assert set(re.findall(r"\$\{\{\s*(\w+)", str(job))) <= {"matrix", "github"}


def test_ci_covers_the_python_and_torch_versions_that_are_allowed() -> None:
    rows = load_yaml(ROOT / ".github/workflows/ci.yml")["jobs"]["test"]["strategy"]["matrix"]["include"]
    classifiers = PROJECT["project"]["classifiers"]
    assert {row["python"] for row in rows} == {line.rpartition(" ")[2] for line in classifiers if re.search(r":: 3\.\d+$", line)}
    (oldest,) = re.findall(r"torch>=([\d.]+)", " ".join(PROJECT["project"]["dependencies"]))
    assert {f"torch=={oldest}.*", "torch"} <= {row["torch"] for row in rows}


def test_groups_of_dependencies_are_extras() -> None:
    project = PROJECT["project"]
    for name, requirements in PROJECT["dependency-groups"].items():
        for requirement in requirements:
            distribution, extras = re.fullmatch(r"([\w-]+)\[([\w,]+)\]", requirement).groups()
            assert distribution == project["name"] and set(extras.split(",")) <= project["optional-dependencies"].keys(), name


def test_nothing_tells_users_to_install_the_other_pgen() -> None:
    """The name `pgen` on the package index belongs to another project."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.*"), *(ROOT / "pgen").rglob("*.*")]
    wrong = []
    for page in pages:
        if page.suffix in (".md", ".ipynb", ".toml", ".txt", ".py", ".yml"):
            for number, line in enumerate(page.read_text().splitlines(), 1):
                if re.search(r"""(pip install ['"]?|dependencies = \["|pypi\.org/project/)pgen(?![\w-])""", line):
                    wrong.append(f"{page.relative_to(ROOT)}:{number}")
    # SECURITY.md and the installation page warn of it.
    assert [place for place in wrong if not place.startswith(("SECURITY.md", "README.md", "docs/index.md"))] == []
