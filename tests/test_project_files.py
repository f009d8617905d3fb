"""anaconda-project.yml by the rules of HoloViz' examples, and the notebook that it opens."""

import datetime
import json
import re
import shlex
import tomllib
from pathlib import Path
from urllib.parse import quote

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parent.parent
SPEC = yaml.safe_load((ROOT / "anaconda-project.yml").read_text())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NOTEBOOK = ROOT / SPEC["commands"]["notebook"]["notebook"]

# The rules, read from the examples' own validator and template.
ROOT_REQUIRED = {
    "name",
    "description",
    "examples_config",
    "user_fields",
    "channels",
    "packages",
    "dependencies",
    "commands",
    "env_specs",
    "platforms",
}
ROOT_OPTIONAL = {"variables", "downloads"}
CONFIG_REQUIRED = {"created", "maintainers", "labels", "categories"}
CONFIG_OPTIONAL = {"title", "no_data_ingestion", "skip_notebooks_evaluation", "deployments", "gh_runner"}
COMMAND_KEYS = {"unix", "windows", "notebook", "supports_http_options", "description", "env_spec"}
CATEGORIES = {
    "Featured",
    "Geospatial",
    "Finance",
    "Economics",
    "Mathematics",
    "Neuroscience",
    "Cybersecurity",
    "Networks",
    "Other Sciences",
    "Sports",
}
# Packages that conda knows by another name.
CONDA_NAMES = {"torch": "pytorch"}


def _specifiers(lines: list[str]) -> dict[str, SpecifierSet]:
    """`name >=1,<2` is read alike by pip and conda."""
    parsed = [Requirement(line) for line in lines]
    return {CONDA_NAMES.get(each.name, each.name): each.specifier for each in parsed}


class TestRules:
    def test_keys(self) -> None:
        assert set(SPEC) >= ROOT_REQUIRED
        assert set(SPEC) <= ROOT_REQUIRED | ROOT_OPTIONAL
        assert set(SPEC["examples_config"]) >= CONFIG_REQUIRED
        assert set(SPEC["examples_config"]) <= CONFIG_REQUIRED | CONFIG_OPTIONAL
        assert SPEC["user_fields"] == ["examples_config"]
        for command in SPEC["commands"].values():
            assert set(command) <= COMMAND_KEYS

    def test_name_is_the_package_s(self) -> None:
        assert SPEC["name"] == PROJECT["name"]
        assert re.fullmatch("[a-z_]+", SPEC["name"])
        assert (ROOT / SPEC["name"] / "__init__.py").is_file()

    def test_config(self) -> None:
        config = SPEC["examples_config"]
        assert isinstance(config["created"], datetime.date)
        for key in ("maintainers", "labels", "categories"):
            assert config[key]
            assert all(isinstance(value, str) for value in config[key])
        assert set(config["categories"]) <= CATEGORIES
        # Its rule on data: fetched by `downloads`, or said to be none.
        assert bool(SPEC["downloads"]) != config["no_data_ingestion"]

    def test_packages_are_those_of_pyproject(self) -> None:
        extra = [line for line in PROJECT["optional-dependencies"]["test"] if line.startswith("notebook")]
        python = f"python {PROJECT['requires-python']}"
        assert SPEC["dependencies"] == SPEC["packages"]
        assert _specifiers(SPEC["packages"]) == _specifiers([python, *PROJECT["dependencies"], *extra])

    def test_no_variable_and_one_environment(self) -> None:
        assert SPEC["variables"] == {}
        assert SPEC["env_specs"] == {"default": {}}
        assert "linux-64" in SPEC["platforms"]

    def test_commands(self) -> None:
        assert set(SPEC["commands"]) == {"dashboard", "notebook"}
        dashboard = SPEC["commands"]["dashboard"]
        assert dashboard["supports_http_options"] is True
        assert dashboard["unix"] == dashboard["windows"]
        assert "panel serve wonderland/app.py" in dashboard["unix"]


class TestCommands:
    """Each command, with the options that anaconda-project adds to it, really starts and answers."""

    def test_dashboard(self, answer_of, free_port: int) -> None:
        host = f"localhost:{free_port}"
        options = ["--anaconda-project-host", host, "--anaconda-project-port", str(free_port)]
        options += ["--anaconda-project-address", "127.0.0.1", "--anaconda-project-no-browser"]
        options += ["--anaconda-project-iframe-hosts", host, "--anaconda-project-use-xheaders"]
        command = f"{SPEC['commands']['dashboard']['unix']} {shlex.join(options)}"
        page = answer_of(command, f"http://127.0.0.1:{free_port}/app")
        assert "Rabbit Hole" in re.search(r"<title>(.*?)</title>", page, re.DOTALL)[1]

    def test_dashboard_tells_of_its_sessions(self, answer_of, free_port: int) -> None:
        command = f"{SPEC['commands']['dashboard']['unix']} --port {free_port}"
        told = answer_of(command, f"http://localhost:{free_port}/rest/session_info")
        assert json.loads(told)["session_info"]["sessions"] == {}

    def test_notebook(self, answer_of, free_port: int, tmp_path: Path) -> None:
        command = ["jupyter-notebook", str(NOTEBOOK)]
        command += [f"--NotebookApp.default_url=/notebooks/{quote(NOTEBOOK.name)}"]
        command += ["--port", str(free_port), "--ip", "127.0.0.1", "--no-browser", "--allow-root"]
        place = {f"JUPYTER_{kind}_DIR": str(tmp_path / kind) for kind in ("CONFIG", "DATA", "RUNTIME")}
        url = f"http://127.0.0.1:{free_port}/api/contents/{quote(NOTEBOOK.name)}?token=alice"
        served = json.loads(answer_of(command, url, JUPYTER_TOKEN="alice", **place))
        assert [cell["source"] for cell in served["content"]["cells"]] == [
            "".join(cell["source"]) for cell in json.loads(NOTEBOOK.read_text())["cells"]
        ]
