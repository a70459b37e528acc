"""Measurements in processes of their own, on either side: ours, and peers in environments of their own."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
REJAX_VENV = ROOT / ".venv-rejax"
REJAX_PACKAGES = ("rejax==0.1.3", "gymnax==0.0.9", "jax==0.10.2", "brax==0.14.2")


def rejax_python(venv: Path = REJAX_VENV) -> str:
    """The interpreter of Rejax's environment. Rejax 0.1.3 needs gymnax 0.0.9."""
    return peer_python(venv, REJAX_PACKAGES)


def peer_python(venv: Path, packages: Sequence[str]) -> str:
    """The interpreter of a peer's environment, which is made with these packages if it is not there."""
    python = venv / "bin" / "python"
    if not python.exists():
        print(f"making {venv}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=True)
    return str(python)


def thousands(figure: tuple[float, float, float] | None) -> str:
    """Median (least-greatest) in thousands, with a decimal below ten of them, or a dash."""
    if figure is None:
        return "-"
    middle, least, greatest = (f"{value / 1e3:,.{int(figure[0] < 1e4)}f}" for value in figure)
    return f"{middle}k ({least}-{greatest})"


def comparison(ours: Any, theirs: Any, limit: float | None) -> list[str]:
    """Three cells of a table: the ratio of two spreads, the limit, and how much of it the first reaches."""
    return [
        f"{ours[0] / theirs[0]:.2f}" if ours and theirs else "-",
        f"{limit / 1e3:,.0f}k" if limit else "-",
        f"{100 * ours[0] / limit:.0f}%" if ours and limit else "-",
    ]


def failures(rows: Sequence[dict[str, Any]], name: Callable[[dict[str, Any]], str], sides: Sequence[str]) -> list[str]:
    """Lines that say which measurements failed and why; none if none did."""
    failed = [
        f"- {name(row)}, {side}: {measurement['failed']}"
        for row in rows
        for side in sides
        for measurement in row[side]
        if "failed" in measurement
    ]
    return ["", "Failed:", "", *sorted(set(failed))] if failed else []


def spread(side: Sequence[dict[str, Any]], name: str) -> tuple[float, float, float] | None:
    """Median, least and greatest of a figure, None if a measurement failed."""
    values = [measurement[name] for measurement in side if name in measurement]
    if not values or len(values) < len(side):
        return None
    return statistics.median(values), min(values), max(values)


def measure(python: str, module: str, case: dict[str, Any], timeout: float, cache: str | None = None) -> dict[str, Any]:
    """Runs a module of this folder with the case as JSON; its last line is the measurement, or ``failed`` says why not.

    Args:
        cache: folder of compiled programs; without one nothing is taken from a cache.
    """
    command = [python, "-m", f"experiments.benchmarks.{module}", json.dumps(case)]
    environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false", "PYTHONWARNINGS": "ignore"}
    if cache is not None:
        environment |= {"JAX_ENABLE_COMPILATION_CACHE": "true", "JAX_COMPILATION_CACHE_DIR": cache}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, env=environment, cwd=ROOT, check=False
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"no result after {timeout:.0f} s"}
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        return {"failed": lines[-1][:200] if lines else f"exit status {done.returncode}"}
    return json.loads(done.stdout.strip().splitlines()[-1])
