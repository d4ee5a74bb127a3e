"""The pages for operators: what they link to is there, and nothing that alerts is without a section."""

import re
from pathlib import Path
from typing import Iterator

import yaml

from .manifests import Loader

PAGES = ["docs/OPERATIONS.md", "deploy/kubernetes/README.md"]


def checks(root: Path) -> Iterator[tuple[str, list[str]]]:
    for page in PAGES:
        yield f"{page}: links", list(dead_links(root / page))
    headings = anchors((root / PAGES[0]).read_text())
    groups = yaml.load((root / "deploy/prometheus/rules.yml").read_text(), Loader)["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    yield f"{PAGES[0]}: every alert", sorted(it for it in alerts if it.lower() not in headings)
    judged = (root / "src/http/ready.rs").read_text().split("#[cfg(test)]")[0]
    conditions = set(re.findall(r'condition\("(\w+)"', judged))
    missing = sorted(conditions - headings)
    yield f"{PAGES[0]}: every condition of /ready", missing or ([] if conditions else ["none was found in ready.rs"])


def anchors(text: str) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead_links(page: Path) -> Iterator[str]:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        if path.startswith("http"):
            continue
        file = (page.parent / path).resolve() if path else page
        if not file.exists():
            yield f"{target} is not there"
        elif anchor and file.is_file() and anchor not in anchors(file.read_text()):
            yield f"{target} has no such heading"
