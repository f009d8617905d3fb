"""The package from outside: what it exports, installs, imports, says."""

import ast
import re
import shutil
import socket
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from functools import cache
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import wonderland
from wonderland.__main__ import main

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "wonderland"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DECLARED = {Requirement(line).name for line in PROJECT["dependencies"]}
EXTRAS = {name: lines for name, lines in PROJECT["optional-dependencies"].items() if name != "test"}
OFFERED = {Requirement(line).name for lines in EXTRAS.values() for line in lines}
MODULES = sorted(PACKAGE.rglob("*.py"), key=str)

DEMOS = {
    "Calculator",
    "EnergyDemo",
    "MatrixGarden",
    "NumpyWarmup",
    "OSFTStep",
    "ProjectionDemo",
    "RotationDemo",
    "SVDExplorer",
    "TrainingSim",
}
README_LINES = {
    "serve": "pip install -e . && panel serve wonderland/app.py",
    "test": 'pip install -e ".[test]" && pytest',
}
# From the ground up: a layer may import from those before it.
LAYERS = [
    "maths",
    "backend",
    "theme",
    "prose",
    "demos",
    "address",
    "comparison",
    "ledger",
    "slot",
    "document",
    "snapshots",
    "app",
]
ABOVE_ALL = ["__init__", "__main__"]
BAD_PORTS = ["0", "-1", "65536", "abc", "", "5006.0", "nan", "inf", "٥٠٠٦", "5_006", "9" * 5000]
GUI = {"panel", "panel_material_ui", "holoviews", "bokeh", "param"}
FOREIGN = {
    "machine path": re.compile(r"(?<![\w.])/(?:work|root|home|Users|tmp|opt)/\w"),
    "package host": re.compile(r"\b(?:pypi|pythonhosted|anaconda|npmjs|debian)\.(?:org|com)\b"),
}


def _imports(path: Path) -> list[tuple[str, bool]]:
    """Absolute names of what a file imports at run time, each with whether that happens at once."""
    tree = ast.parse(path.read_text())
    package = path.relative_to(ROOT).parent.parts
    late = _inside(tree, lambda node: isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))
    never = _inside(tree, _only_for_types)
    found = []
    for node in ast.walk(tree):
        if id(node) in never:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*package[: len(package) + 1 - node.level], *filter(None, [node.module])])
            module = base if node.level else node.module
            names = [module, *(f"{module}.{alias.name}" for alias in node.names)]
        else:
            continue
        found += [(name, id(node) not in late) for name in names]
    return found


def _inside(tree: ast.AST, chosen: Callable[[ast.AST], bool]) -> set[int]:
    return {id(inner) for outer in ast.walk(tree) if chosen(outer) for inner in ast.walk(outer)}


def _only_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


@cache
def _loads_torch(module: str) -> bool:
    """Whether importing one of our modules imports torch, at once and by whatever way."""
    path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    if module.partition(".")[0] != "wonderland" or not path.is_file():
        return False
    at_once = {name for name, now in _imports(path) if now}
    return any(name.partition(".")[0] == "torch" or _loads_torch(name) for name in at_once)


def _layer(module: str) -> str:
    """`wonderland.maths.energy` is of the layer `maths`."""
    return module.split(".")[1] if "." in module else ""


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)


class TestImport:
    def test_importing_the_package_loads_nothing_heavy(self) -> None:
        heavy = "{'torch', 'panel', 'holoviews', 'bokeh', 'pandas', 'scipy', 'numpy'}"
        run = _run(sys.executable, "-c", f"import sys, wonderland; print(sorted({heavy} & set(sys.modules)))")
        assert (run.stdout.strip(), run.stderr) == ("[]", "")

    def test_importing_every_demo_leaves_torch_alone(self) -> None:
        code = "import sys; from wonderland import *; print('panel' in sys.modules, 'torch' in sys.modules)"
        run = _run(sys.executable, "-c", code)
        assert run.stdout.split() == ["True", "False"], run.stderr

    def test_the_nine_demos_are_public(self) -> None:
        assert set(wonderland.__all__) >= DEMOS
        assert set(dir(wonderland)) >= DEMOS

    @pytest.mark.parametrize("name", wonderland.__all__)
    def test_public_name_is_the_class_of_that_name(self, name: str) -> None:
        found = getattr(wonderland, name)
        assert found.__name__ == name
        assert found.__doc__

    def test_unknown_name_is_an_attribute_error(self) -> None:
        with pytest.raises(AttributeError, match="WhiteRabbit"):
            _ = wonderland.WhiteRabbit


class TestLayers:
    @pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
    def test_imports_run_one_way(self, path: Path) -> None:
        own = path.relative_to(PACKAGE).with_suffix("").parts[0]
        assert own in LAYERS + ABOVE_ALL, "a new module takes its place in LAYERS"
        above = [] if own in ABOVE_ALL else LAYERS[LAYERS.index(own) + 1 :]
        wrong = []
        for module, at_once in _imports(path):
            top = module.partition(".")[0]
            if top == "wonderland" and _layer(module) in above:
                wrong.append(f"{module}: {own} stands below {_layer(module)}")
            if top == "torch" and own != "backend":
                wrong.append(f"{module}: only the backend knows torch")
            if top in GUI and own in ("maths", "backend"):
                wrong.append(f"{module}: {own} knows nothing of the page")
            if own != "backend" and at_once and _loads_torch(module):
                wrong.append(f"{module}: import it late, lest the page wait for torch")
        assert not wrong

    def test_what_is_imported_is_declared(self) -> None:
        """A declared dependency, or one that Panel or Bokeh brings by its own declaration; late, one of an extra."""
        brought = {Requirement(line).name for name in ("panel", "bokeh") for line in requires(name)}
        known_as = packages_distributions()
        undeclared = []
        for path in MODULES:
            for module, at_once in _imports(path):
                name = module.partition(".")[0]
                if name in sys.stdlib_module_names | {"wonderland"}:
                    continue
                allowed = DECLARED | brought | (set() if at_once else OFFERED)
                if not allowed & set(known_as.get(name, [])):
                    undeclared.append((path.name, module))
        assert not undeclared

    def test_panel_brings_the_template(self) -> None:
        assert "panel-material-ui" in {Requirement(line).name for line in requires("panel")}

    def test_the_reader_of_imports_sees_late_and_relative_ones(self, tmp_path: Path) -> None:
        source = PACKAGE / "demos" / "_not_there.py"
        text = "import torch.nn\nfrom ..maths import energy\ndef f():\n    from wonderland.backend import osft\n"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Path, "read_text", lambda *_: text)
            found = dict(_imports(source))
        assert found == {
            "torch.nn": True,
            "wonderland.maths": True,
            "wonderland.maths.energy": True,
            "wonderland.backend": False,
            "wonderland.backend.osft": False,
        }

    def test_torch_is_seen_through_other_modules(self) -> None:
        assert _loads_torch("wonderland.backend.osft")
        assert not _loads_torch("wonderland.maths.subspace")
        assert not _loads_torch("wonderland.document")


class TestCommandLine:
    @pytest.mark.parametrize(
        "command",
        [[str(Path(sys.executable).with_name("wonderland"))], [sys.executable, "-m", "wonderland"]],
        ids=["script", "module"],
    )
    def test_version(self, command: list[str]) -> None:
        run = _run(*command, "--version")
        assert (run.returncode, run.stdout.strip()) == (0, f"wonderland {PROJECT['version']}")

    def test_serve_answers_with_the_book(self, answer_of, free_port: int) -> None:
        command = [sys.executable, "-m", "wonderland", "serve", "--port", str(free_port)]
        page = answer_of([*command, "--address", "127.0.0.1"], f"http://127.0.0.1:{free_port}/app")
        assert "Rabbit Hole" in re.search(r"<title>(.*?)</title>", page, re.DOTALL)[1]

    @pytest.mark.parametrize(
        "port",
        ["0", "-1", "65536", "abc", "", "5006.0", "nan", "inf", "٥٠٠٦", "5_006", "9" * 5000],
        ids=ascii,
    )
    def test_port_out_of_range(self, port: str, capsys: pytest.CaptureFixture) -> None:
        with pytest.raises(SystemExit, match="2"):
            main(["serve", f"--port={port}"])
        assert f"port = {port} is outside 1…65535" in capsys.readouterr().err

    def test_port_in_use(self, capsys: pytest.CaptureFixture) -> None:
        with socket.create_server(("127.0.0.1", 0)) as held:
            port = held.getsockname()[1]
            with pytest.raises(SystemExit, match="2"):
                main(["serve", "--port", str(port), "--address", "127.0.0.1"])
        assert f"port = {port} is already in use" in capsys.readouterr().err

    @pytest.mark.parametrize("address", ["", "198.51.100.7", "256.1.1.1", "a" * 300], ids=lambda text: text[:12])
    def test_address_of_another_machine(self, address: str, free_port: int, capsys: pytest.CaptureFixture) -> None:
        with pytest.raises(SystemExit, match="2"):
            main(["serve", "--port", str(free_port), "--address", address])
        assert f"address = {address!r} is not one of this machine" in capsys.readouterr().err

    @pytest.mark.parametrize("arguments", [[], ["swim"], ["serve", "--swim"]], ids=" ".join)
    def test_unknown_command(self, arguments: list[str], capsys: pytest.CaptureFixture) -> None:
        with pytest.raises(SystemExit, match="2"):
            main(arguments)
        assert "usage: wonderland" in capsys.readouterr().err


class TestReadme:
    @pytest.mark.parametrize("name", README_LINES)
    def test_line_is_the_one_that_ci_runs(self, name: str) -> None:
        run = _run("bash", str(ROOT / ".ci" / "run"), "line", name)
        assert (run.stdout, run.stderr) == (README_LINES[name] + "\n", "")

    def test_ci_names_a_line_that_is_not_there(self) -> None:
        run = _run("bash", str(ROOT / ".ci" / "run"), "line", "swim")
        assert run.returncode == 1
        assert "<!-- line: swim -->" in run.stderr

    def test_its_notebook_cell_runs(self) -> None:
        cell = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
        code = "\n".join(line.strip() for line in cell.splitlines())
        run = _run(sys.executable, "-W", "error", "-c", code)
        assert run.returncode == 0, run.stderr

    def test_its_links_lead_somewhere(self) -> None:
        links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text())
        assert links
        assert [link for link in links if not (ROOT / link).exists()] == []


class TestFiles:
    def test_wheel_holds_the_whole_package(self, tmp_path: Path) -> None:
        """Built from a copy, so that the tree stays clean."""
        copy = tmp_path / "copy"
        shutil.copytree(PACKAGE, copy / "wonderland", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, copy)
        pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
        run = _run(*pip, "--wheel-dir", str(tmp_path), str(copy))
        assert run.returncode == 0, run.stderr
        with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
            packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
        here = {path.relative_to(ROOT) for path in PACKAGE.rglob("*") if path.is_file()}
        assert packed == {path.as_posix() for path in here if "__pycache__" not in path.parts}

    def test_no_file_names_a_machine_or_a_package_host(self) -> None:
        listed = _run("git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z")
        paths = [ROOT / name for name in listed.stdout.split("\0") if name]
        assert ROOT / "pyproject.toml" in paths
        wrong = []
        for path in filter(Path.is_file, paths):
            text = path.read_bytes().decode(errors="ignore")
            wrong += [
                f"{path.relative_to(ROOT)}: {kind} {match[0]}"
                for kind, pattern in FOREIGN.items()
                for match in pattern.finditer(text)
            ]
        assert wrong == []
