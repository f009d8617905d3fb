import subprocess
import sys
from pathlib import Path

from wonderland import backend

MODULES = tuple(sorted(path.stem for path in Path(backend.__file__).parent.glob("[a-z]*.py")))


def python(code):
    """Run code in a process of its own; its answer is what it prints."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True, timeout=120
    ).stdout


def test_the_package_is_light_and_knows_nothing_of_the_page():
    code = f"""
import importlib, sys
import wonderland.backend
print("torch" in sys.modules)
for name in {MODULES}:
    importlib.import_module("wonderland.backend." + name)
print("torch" in sys.modules, {{"panel", "bokeh", "holoviews", "param"}} & set(sys.modules))
"""
    assert python(code) == "False\nTrue set()\n"


def test_importing_changes_no_setting_of_torch():
    code = f"""
import importlib, torch
settings = lambda: (torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled(),
                    torch.get_rng_state().sum().item(), torch.are_deterministic_algorithms_enabled())
before = settings()
for name in {MODULES}:
    importlib.import_module("wonderland.backend." + name)
print(settings() == before)
"""
    assert python(code) == "True\n"


def test_warming_leaves_nothing_to_load_for_the_first_step():
    code = """
import sys
from wonderland.backend import warm
from wonderland.backend.step import LayerRun
warm()
before = set(sys.modules)
LayerRun().step()
print(len(set(sys.modules) - before))
"""
    assert int(python(code)) == 0


def test_warming_in_one_thread_sets_the_threads_of_all():
    code = """
import threading
from wonderland.backend import warm
warming = threading.Thread(target=warm)
warming.start()
warming.join()
import torch
counts = []
def count():
    torch.randn(300, 300) @ torch.randn(300, 300)
    counts.append(torch.get_num_threads())
other = threading.Thread(target=count)
other.start()
other.join()
count()
print(counts)
"""
    assert python(code) == "[1, 1]\n"
