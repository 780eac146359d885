"""
Build the wheel and the source distribution, look at what is in them, install each into a new environment and run it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

#: Files without which an installation would not work, or may not be passed on.
NEEDED = [
    "meshproxy/__init__.py",
    "meshproxy/config/envoy.pb.gz",
    "meshproxy/controlplane/__init__.py",
    "meshproxy/controlplane/py.typed",
    "meshproxy/filters/__init__.py",
    "meshproxy/filters/http/__init__.py",
    "meshproxy/filters/py.typed",
    "meshproxy/plugins/__init__.py",
    "meshproxy/py.typed",
    "meshproxy/tap.py",
    "twisted/plugins/meshproxy_plugins.py",
]

#: What a wheel may hold at its top. Names like C{filters} belong to other distributions.
TOP = {"meshproxy", "twisted"}


def run(*command: object, **options: object) -> str:
    """
    Run a command and give its output; show it and leave where it fails.
    """
    done = subprocess.run([str(part) for part in command], text=True, stdout=-1, stderr=-2, **options)  # type: ignore
    if done.returncode:
        raise SystemExit(f"{done.stdout}\n{' '.join(map(str, command))} ended with {done.returncode}")
    return str(done.stdout)


def sources() -> set[str]:
    """
    The files of the package that git knows, by the names they have once installed.
    """
    listed = run("git", "ls-files", "meshproxy", "filters", "controlplane", cwd=ROOT).split()
    named = [name if name.startswith("meshproxy/") else f"meshproxy/{name}" for name in listed]
    return set(named) - {"meshproxy/filters", "meshproxy/controlplane"}


def checkWheel(path: Path) -> list[str]:
    """
    What is wrong with the files of a wheel.
    """
    names = set(zipfile.ZipFile(path).namelist())
    files = {name for name in names if ".dist-info/" not in name}
    faults = [f"the wheel lacks {name}" for name in sorted((set(NEEDED) | sources()) - names)]
    faults += [f"the wheel has {name} at its top" for name in sorted({name.split("/")[0] for name in files} - TOP)]
    faults += [f"the wheel has {name}" for name in sorted(files) if "__pycache__" in name or name.endswith(".cache")]
    if "twisted/plugins/__init__.py" in names:
        faults.append("the wheel has twisted/plugins/__init__.py, which is Twisted's")
    for licence in ("LICENSE", "NOTICE"):
        if not any(name.endswith(f".dist-info/licenses/{licence}") for name in names):
            faults.append(f"the wheel lacks {licence}")
    return faults


def checkSource(path: Path) -> list[str]:
    """
    What is wrong with the files of a source distribution.
    """
    with tarfile.open(path) as archive:
        members = {member.name.partition("/")[2]: member for member in archive.getmembers()}
    needed = (set(NEEDED) - {"meshproxy/config/envoy.pb.gz"}) | sources() | {"setup.cfg", "pyproject.toml", "LICENSE"}
    faults = [f"the sdist lacks {name}" for name in sorted(needed - set(members))]
    return faults + [f"the sdist has the link {name}" for name in members if members[name].issym()]


def tryOut(distribution: Path, folder: Path) -> None:
    """
    Install a distribution into an environment of its own and run what it installs, far from the checkout.
    """
    venv.create(folder, with_pip=True)
    run(folder / "bin/pip", "install", "--quiet", "--disable-pip-version-check", distribution)
    usage = run(folder / "bin/twistd", "meshproxy", "--help", cwd=folder)
    if "proxy" not in usage:
        raise SystemExit(f"twistd meshproxy --help does not name its subcommands:\n{usage}")
    for file in sorted((ROOT / "etc").glob("*.yaml")):
        # An example that needs certificates has a script beside it that makes them.
        if file.with_suffix(".sh").exists():
            run("sh", file.with_suffix(".sh"), cwd=folder)
        run(folder / "bin/twistd", "-n", "meshproxy", "proxy", "-c", file, "--mode", "validate", cwd=folder)


def main() -> None:
    """
    Build, look, install, run.
    """
    parser = argparse.ArgumentParser(description=__doc__.strip())
    parser.add_argument("--no-install", action="store_true", help="only build and look at the files")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(sys.executable, "-m", "build", "--outdir", folder, ROOT)
        (wheel,), (source,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
        faults = checkWheel(wheel) + checkSource(source)
        if faults:
            raise SystemExit("\n".join(faults))
        if not options.no_install:
            tryOut(wheel, folder / "fromwheel")
            tryOut(source, folder / "fromsource")
    print(f"{wheel.name} and {source.name} are good")


if __name__ == "__main__":
    main()
