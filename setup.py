"""Maps the repository's `envs/` to `jaxrl.envs`, so that no top-level `envs` lands in site-packages."""

from setuptools import find_packages, setup

setup(
    packages=find_packages(include=["jaxrl", "jaxrl.*"])
    + ["jaxrl.envs"]
    + [f"jaxrl.envs.{name}" for name in find_packages("envs")],
    package_dir={"jaxrl.envs": "envs"},
)
