"""What the native module `fastlic.kernels._native` is made of; `setup.py` reads this, nothing imports it at run time.

Knows sources and flags of every compiler; sanitizers and a missing compiler are setup.py's.
"""

import sys
from pathlib import Path

_HERE = Path(__file__).parent

# Relative to the repository root, as setuptools wants them.
SOURCES = sorted(f"kernels/cpu/{path.name}" for path in (_HERE / "cpu").glob("*.cpp"))
# A change of these compiles again too.
HEADERS = sorted(path.relative_to(_HERE.parent).as_posix() for path in _HERE.rglob("*.h"))
INCLUDE_DIRS = ["kernels/include"]
# Any machine of the architecture must run a wheel, so no -march: sources choose by processor when they run. Integers
# carry what must be exact, so there is no flag about floating point.
COMPILE_ARGS = ["/O2", "/W3"] if sys.platform == "win32" else ["-O3", "-Wall", "-Wextra"]
