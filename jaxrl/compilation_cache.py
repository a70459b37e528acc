"""Where compiled programs are kept between runs."""

import os
from pathlib import Path
from typing import Any

import jax


def use_compilation_cache(directory: str | Path | None = None) -> Path | None:
    """Keeps compiled programs on disk, so that the same run starts in seconds the second time.

    What the user has set for jax itself comes first: ``JAX_COMPILATION_CACHE_DIR`` names another folder and
    ``JAX_ENABLE_COMPILATION_CACHE=false`` switches the cache off.

    Args:
        directory: ``$XDG_CACHE_HOME/jaxrl/xla`` by default, or ``~/.cache/jaxrl/xla``.

    Returns:
        The folder, or None if there is no cache because it is off or cannot be written to.
    """
    config: Any = jax.config
    if not config.jax_enable_compilation_cache:
        return None
    if config.jax_compilation_cache_dir:
        return Path(config.jax_compilation_cache_dir)
    if directory is None:
        directory = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxrl" / "xla"
    directory = Path(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    if not os.access(directory, os.W_OK):
        return None
    config.update("jax_compilation_cache_dir", str(directory))
    config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    return directory
