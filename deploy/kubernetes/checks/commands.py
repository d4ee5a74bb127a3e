"""The pages' commands: kubectl and helm must take their arguments, and apolo must have each command and flag."""

import os
import re
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Iterator

from .pages import PAGES

# Nobody listens there: a command that is understood fails to connect, and one that is not says so before.
NOWHERE = ["--server=http://127.0.0.1:9", "--request-timeout=1s"]
UNDERSTOOD = re.compile(r"connection refused|was refused|connect: |i/o timeout|unable to connect", re.IGNORECASE)


def checks(root: Path, found: dict[str, str], binary: str | None) -> Iterator[tuple[str, list[str]]]:
    # Each once, in their order.
    for words in dict.fromkeys(it for page in PAGES for it in commands((root / page).read_text())):
        name = f"command: {' '.join(words)[:90]}"
        if words[0] == "kubectl":
            yield name, kubectl(found["kubectl"], words[1:], root)
            if words[1] == "exec" and binary:
                yield f"{name}: apolo", apolo(binary, words[words.index("apolo") + 1 :])
        elif words[0] == "apolo" and binary:
            yield name, apolo(binary, words[1:])


def commands(text: str) -> Iterator[tuple[str, ...]]:
    """Every simple command of the blocks, without what is done with its output."""
    for block in re.findall(r"^ *```sh\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            words: list[str] = []
            for word in [*shlex.split(re.sub(r'"\$\(.*?\)"', "generated", line), comments=True), "|"]:
                if word in ("|", ">"):
                    yield from [tuple(words)] if words else []
                    words = []
                elif words or not re.fullmatch(r"[A-Z_]+=.*", word):
                    words.append(word)


def kubectl(program: str, words: tuple[str, ...], root: Path) -> list[str]:
    end = words.index("--") if "--" in words else len(words)
    command = [program, *words[:end], *NOWHERE, *words[end:]]
    if words[:3] == ("apply", "-f", "-"):
        # To validate a manifest it would ask the server first.
        command.append("--validate=false")
    manifest = "apiVersion: v1\nkind: Pod\nmetadata: { name: a }\n"
    environment = {**os.environ, "KUBECONFIG": os.devnull}
    with tempfile.TemporaryDirectory() as directory:
        # Paths on the pages begin at the repository's root; files that were made by then are made here.
        (Path(directory) / "deploy").symlink_to(root / "deploy")
        for file in (word.split("=")[-1] for word in words if word.startswith("--from-file=")):
            (Path(directory) / file).parent.mkdir(exist_ok=True)
            (Path(directory) / file).write_text("text")
        done = subprocess.run(
            command, capture_output=True, text=True, input=manifest, cwd=directory, env=environment, timeout=30
        )
    said = done.stderr.strip()
    return [] if done.returncode == 0 or UNDERSTOOD.search(said) else [said]


def apolo(binary: str, words: tuple[str, ...]) -> list[str]:
    depth = 2 if words[0] in ("bench", "ca", "kv", "token") else 1
    done = subprocess.run([binary, *words[:depth], "--help"], capture_output=True, text=True)
    if done.returncode != 0:
        return [done.stderr.strip()]
    flags = [word.split("=")[0] for word in words if word.startswith("--")]
    return [f"there is no {flag}" for flag in flags if not re.search(rf"(?<!\S){flag}\b", done.stdout)]
