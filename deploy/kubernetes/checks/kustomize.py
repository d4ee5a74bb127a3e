"""Builds with the kustomize that kubectl has in it."""

import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


class Failed(Exception):
    """A tool did not do it; what it said."""


def run(*command: object) -> str:
    done = subprocess.run([str(it) for it in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed(done.stderr.strip() or done.stdout.strip())
    return done.stdout


def build(kubectl: str, directory: Path) -> str:
    return run(kubectl, "kustomize", directory)


def patched(kubectl: str, manifests: str, patch: str) -> str:
    """The manifests with one strategic merge patch upon them."""
    with tempfile.TemporaryDirectory() as directory:
        files = {
            "manifests.yaml": manifests,
            "patch.yaml": patch,
            "kustomization.yaml": "resources: [manifests.yaml]\npatches: [{path: patch.yaml}]\n",
        }
        for name, text in files.items():
            (Path(directory) / name).write_text(text)
        return build(kubectl, Path(directory))
