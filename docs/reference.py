"""Write the reference of every public class and function, from their docstrings, as web pages.

    python docs/reference.py FOLDER

Open FOLDER/wonderland.html then. Needs pdoc, which comes with `pip install -e ".[docs]"`.
"""

import argparse
import pkgutil
import warnings
from pathlib import Path

import pdoc

import wonderland

PROGRAMS = ("wonderland.__main__", "wonderland.app")
SHOWN = [*wonderland.__all__, "snapshot"]


def write(folder: Path) -> None:
    """Write one page a module into `folder`."""
    for name in SHOWN:
        setattr(wonderland, name, getattr(wonderland, name))  # pdoc sees only what is loaded
    wonderland.__all__ = SHOWN  # by itself the demos alone
    pdoc.render.configure(docformat="numpy", show_source=False)
    modules = [module.name for module in pkgutil.walk_packages(wonderland.__path__, "wonderland.")]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The module specification")  # named twice: by us, and by its package
        warnings.filterwarnings("ignore", "Failed to run TYPE_CHECKING code")  # Panel's, not ours
        pdoc.pdoc("wonderland", *(name for name in modules if name not in PROGRAMS), output_directory=folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the pages go; made if it is not there")
    write(parser.parse_args().folder)
