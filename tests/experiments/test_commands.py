"""What every command under ``experiments`` owes."""

import subprocess
import sys
from pathlib import Path

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def test_commands_can_use_all_cores():
    """Importing them makes no device: they ask for all cores only when they are run."""
    paths = [path for path in EXPERIMENTS.rglob("*.py") if '__name__ == "__main__"' in path.read_text()]
    # Measurements run in environments of others, and a report trains nothing.
    own = [path for path in paths if not path.stem.startswith("measure_") and path.stem != "report"]
    assert len(own) > 15
    names = [".".join(path.relative_to(EXPERIMENTS.parent).with_suffix("").parts) for path in own]
    program = f"import {', '.join(names)}\nfrom jaxrl import use_all_cores\nuse_all_cores()"
    done = subprocess.run([sys.executable, "-c", program], cwd=EXPERIMENTS.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
