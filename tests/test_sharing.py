"""How two processes share the tests, as CI asks for it. Where that fails nothing else does: it only takes longer."""

import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import tests.conftest

WHOLE = ("tests/test_a.py", "tests/test_b.py", "tests/ui/test_snapshot.py")
FILES = (*WHOLE, "tests/ui/test_apart.py")
TESTS = "import time\nimport pytest\n\n@pytest.mark.parametrize('i', range(6))\ndef test(i):\n    time.sleep(0.02)\n"


def test_a_file_stays_in_one_process_and_browsers_come_last(tmp_path: Path) -> None:
    for name in FILES:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    shutil.copy(tests.conftest.__file__, tmp_path / "tests")
    command = [sys.executable, "-m", "pytest", "-v", "-n", "2", "--dist", "loadgroup", "-p", "no:cacheprovider"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    ran = re.findall(r"\[(gw\d)\].* PASSED (tests/\S+\.py)::", done.stdout)
    assert len(ran) == 6 * len(FILES)
    workers = defaultdict(set)
    for worker, file in ran:
        workers[file].add(worker)
    assert all(len(workers[file]) == 1 for file in WHOLE), workers
    assert set.union(*workers.values()) == {"gw0", "gw1"}
    for worker in ("gw0", "gw1"):
        in_browser = ["/ui/" in file for by, file in ran if by == worker]
        assert in_browser == sorted(in_browser)
