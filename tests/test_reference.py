"""The reference has every public class, function and method; the command line explains every option."""

import argparse
import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import wonderland
from wonderland.__main__ import _parser

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "wonderland"
PROGRAMS = {"__main__.py", "app.py"}


def _public(path: Path) -> Iterator[str]:
    """Names of what a module defines for others: `Class`, `Class.method`, `function`."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name
            if isinstance(node, ast.ClassDef):
                methods = [child.name for child in node.body if isinstance(child, ast.FunctionDef)]
                yield from (f"{node.name}.{method}" for method in methods if not method.startswith("_"))


def _commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _commands(command)


COMMANDS = list(_commands(_parser()))


def test_nothing_public_is_missing(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "reference.py"), str(tmp_path)], capture_output=True, text=True, cwd=ROOT
    )
    assert run.returncode == 0, run.stderr
    packages = list(PACKAGE.rglob("__init__.py"))
    modules = [path for path in PACKAGE.rglob("*.py") if path.name not in PROGRAMS and not path.name.startswith("_")]
    missing, seen = [], 0
    for path in packages + modules:
        place = path.parent if path in packages else path
        page = tmp_path / place.relative_to(ROOT).with_suffix(".html")
        text = page.read_text() if page.exists() else ""
        names = list(_public(path))
        seen += len(names)
        missing += [f"{path.relative_to(ROOT)}: {name}" for name in names if f'id="{name}"' not in text]
    assert seen > 300
    assert missing == []
    first = (tmp_path / "wonderland.html").read_text()
    assert [name for name in (*wonderland.__all__, "snapshot") if f'id="{name}"' not in first] == []


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.prog)
def test_every_option_of_the_command_line_has_a_help(command: argparse.ArgumentParser) -> None:
    assert command.description
    assert command.description.rstrip().endswith(".")
    silent = [action.dest for action in command._actions if not action.help]
    assert silent == []
    assert all(len(line) <= 120 for line in command.format_help().splitlines())


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_a_page_s_links_lead_somewhere_and_it_is_linked(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []
    assert f"docs/{page.name}" in (ROOT / "README.md").read_text()


def test_citation_is_of_this_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (cited["version"], cited["license"]) == (project["version"], project["license"])
    assert [author["name"] for author in cited["authors"]] == [author["name"] for author in project["authors"]]
    assert "La Vigne" in str(cited["references"])
