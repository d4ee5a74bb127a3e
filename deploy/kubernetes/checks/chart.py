"""The chart: rendered by helm, held against the same schemas and rules, and the same as the base where nothing is set."""

import re
import tomllib
from pathlib import Path
from typing import Any, Callable, Iterator

import yaml

from . import kustomize
from .manifests import Loader, Manifests, Object, title

Held = Callable[[Callable[[], str]], Iterator[str]]

# What helm must refuse, with a part of what it has to say.
REFUSED = {
    "more nodes than form a cluster": (["--set", "replicas=7"], "exactly `expect` nodes"),
    "an expect above 5": (["--set", "replicas=7,expect=7"], "/expect"),
    "a value that there is not": (["--set", "replica=3"], "replica"),
    "the token as a setting": (["--set", "settings.DISCORD_TOKEN=a"], "DISCORD_TOKEN"),
    "a bot without an image": (["--set", "bot.enabled=true"], "bot.image"),
    "secrets of nothing": (["--set", "secrets.create=true"], "secrets.discordToken"),
    "the image's latest": (["--set", "image.tag=latest"], "/image/tag"),
    "fewer than three by itself": (["--set", "autoscaling.minReplicas=1"], "/autoscaling/minReplicas"),
}


def checks(here: Path, found: dict[str, str], held: Held) -> Iterator[tuple[str, Iterator[str] | list[str]]]:
    chart = here.parent / "helm" / "apolo"
    everything = ["--values", chart / "ci" / "everything-values.yaml"]

    def render(*options: object) -> str:
        return kustomize.run(found["helm"], "template", "apolo", chart, *options)

    yield "chart: lint", linted(lambda: kustomize.run(found["helm"], "lint", "--strict", "--quiet", chart))
    yield "chart: as it is", held(render)
    yield "chart: everything", held(lambda: render(*everything))
    yield "chart: the same as base", differences(
        Manifests(render()), Manifests(kustomize.build(found["kubectl"], here / "base"))
    )
    yield "chart: the alerts of deploy/prometheus", other_alerts(
        Manifests(render(*everything)), here.parent / "prometheus" / "rules.yml"
    )
    yield "chart: the version of Cargo.toml", other_versions(here.parent.parent, render)
    for name, (options, reason) in REFUSED.items():
        yield f"chart: refuses {name}", accepted(lambda options=options: render(*options), reason)


def other_versions(root: Path, render: Callable[..., str]) -> Iterator[str]:
    """One number in many places is forgotten in one of them."""
    with open(root / "Cargo.toml", "rb") as file:
        version = tomllib.load(file)["package"]["version"]
    texts = {str(path): path.read_text() for path in (root / "deploy/kubernetes").rglob("*.yaml") if ".venv" not in path.parts}
    for name, text in {**texts, "the chart": render()}.items():
        for found in re.findall(r"\bapolo-bot:(\d[\w.-]*)", text):
            if found != version:
                yield f"{name} has apolo-bot:{found}, and Cargo.toml {version}"


def linted(lint: Callable[[], str]) -> Iterator[str]:
    try:
        lint()
    except kustomize.Failed as failure:
        yield str(failure)


def accepted(render: Callable[[], str], reason: str) -> Iterator[str]:
    try:
        render()
    except kustomize.Failed as failure:
        if reason not in str(failure):
            yield f"it is refused without a word of {reason!r}: {failure}"
        return
    yield "it is not refused"


def differences(chart: Manifests, base: Manifests) -> Iterator[str]:
    """Two descriptions of one thing part ways unless somebody compares them."""
    ours, theirs = ({title(it): bare(it) for it in manifests.objects} for manifests in (chart, base))
    for name in sorted({*ours, *theirs}):
        if ours.get(name) != theirs.get(name):
            yield f"{name}: {first_difference(ours.get(name), theirs.get(name))}"


def bare(it: Object) -> Object:
    """Without what helm adds for itself."""
    it["metadata"]["labels"] = {"app": it["metadata"]["labels"]["app"]}
    template = it.get("spec", {}).get("template", {})
    template.get("metadata", {}).get("annotations", {}).pop("checksum/config", None)
    return it


def first_difference(chart: Any, base: Any, path: str = "") -> str:
    if isinstance(chart, dict) and isinstance(base, dict):
        for key in sorted({*chart, *base}):
            if chart.get(key) != base.get(key):
                return first_difference(chart.get(key), base.get(key), f"{path}.{key}")
    if isinstance(chart, list) and isinstance(base, list) and len(chart) == len(base):
        for index, (one, other) in enumerate(zip(chart, base)):
            if one != other:
                return first_difference(one, other, f"{path}[{index}]")
    return f"{path} is {chart!r} in the chart and {base!r} in the base"


def other_alerts(manifests: Manifests, rules: Path) -> Iterator[str]:
    [found] = manifests.of("PrometheusRule")
    if found["spec"] != yaml.load(rules.read_text(), Loader):
        yield "they are others"
