"""Every check in turn, and what to print of it."""

import subprocess
import time
from pathlib import Path
from typing import Callable, Iterator

from . import chart, commands, kustomize, pages, rules, rules_pods, schemas, tools
from .manifests import Manifests, title

# The base is no overlay, but what others begin from.
OVERLAYS = ["base", "overlays/development", "overlays/production", "overlays/consumer", "checks/everything"]


def run(here: Path, cache: Path, binary: str | None) -> int:
    began = time.monotonic()
    found = tools.find(cache)
    if binary:
        settings = subprocess.run([binary, "join", "--help"], capture_output=True, text=True, check=True).stdout
        rules_pods.KNOWN.update(rules_pods.known_settings(settings))
    else:
        print("settings_exist is not checked: no --apolo BINARY was given")

    passed = failed = 0
    for name, problems in checks(here, found, binary):
        problems = list(problems)
        passed, failed = passed + (not problems), failed + bool(problems)
        print(f"{'FAILED' if problems else 'ok    '} {name}")
        for problem in problems:
            print(f"       {problem}")
    print(f"\nin {time.monotonic() - began:.0f} s, Kubernetes {', '.join(schemas.VERSIONS)}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


def checks(here: Path, found: dict[str, str], binary: str | None) -> Iterator[tuple[str, Iterator[str] | list[str]]]:
    kubectl = found["kubectl"]
    for overlay in OVERLAYS:
        yield overlay, held(lambda overlay=overlay: kustomize.build(kubectl, here / overlay))
    for example in sorted(here.glob("*.yaml")):
        yield example.name, held(example.read_text)
    everything = kustomize.build(kubectl, here / "checks/everything")
    unchecked = set() if rules_pods.KNOWN else {"settings_exist"}
    for name in sorted({"schema", *rules.RULES} - unchecked):
        yield f"broken/{name}.yaml", breaks_one(kubectl, everything, here / "checks/broken", name)
    yield "no other broken manifests", strangers(here / "checks/broken")
    yield from chart.checks(here, found, held)
    root = here.parent.parent
    yield from pages.checks(root)
    yield from commands.checks(root, found, binary)


def held(build: Callable[[], str]) -> Iterator[str]:
    """What is wrong with what is built, by schema and by rule."""
    try:
        manifests = Manifests(build())
    except kustomize.Failed as failure:
        yield str(failure)
        return
    yield from schemas.broken(manifests)
    names = [title(it) for it in manifests.objects]
    yield from (f"{name} is there twice" for name in sorted(set(names)) if names.count(name) > 1)
    for rule, problems in rules.broken(manifests).items():
        yield from (f"{rule}: {problem}" for problem in problems)


def breaks_one(kubectl: str, everything: str, directory: Path, name: str) -> Iterator[str]:
    """A rule that nothing breaks is none; one that breaks with another's manifest says the wrong thing."""
    path = directory / f"{name}.yaml"
    if not path.is_file():
        yield "there is none"
        return
    manifests = Manifests(kustomize.patched(kubectl, everything, path.read_text()))
    found = set(rules.broken(manifests))
    if schemas.broken(manifests):
        found.add("schema")
    if found != {name}:
        yield f"it breaks {', '.join(sorted(found)) or 'nothing'}"


def strangers(directory: Path) -> list[str]:
    known = {"schema", *rules.RULES}
    return [f"{it.name} is for no rule" for it in sorted(directory.iterdir()) if it.stem not in known]
