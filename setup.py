"""Keeps the wheel to the library; an editable install has the pipeline's packages too.

``flows``, ``serving`` and ``data_checks`` are too common as top-level names for site-packages. The
pipeline runs from its checkout or image: see docs/packaging.md. The rest is in pyproject.toml.
"""

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel

LIBRARY = "hemlets"
# Needs packages of the extra "assets", and a checkout to write into.
LEFT_OUT = "hemlets.assets.rebuild"


def keep_library(distribution: Distribution) -> None:
    """Remove the pipeline's packages and commands from a distribution."""
    distribution.packages = [
        name for name in distribution.packages if name.split(".")[0] == LIBRARY and name != LEFT_OUT
    ]
    distribution.entry_points = {
        group: [entry for entry in entries if entry.split("=")[1].strip().startswith(LIBRARY)]
        for group, entries in distribution.entry_points.items()
    }


class LibraryWheel(bdist_wheel):
    """A wheel for installing. An editable install is built by another command."""

    def run(self) -> None:
        """Build the wheel of the library alone."""
        keep_library(self.distribution)
        # Prepared for either kind of install, and so with the pipeline's commands.
        self.dist_info_dir = None
        super().run()


setup(cmdclass={"bdist_wheel": LibraryWheel})
