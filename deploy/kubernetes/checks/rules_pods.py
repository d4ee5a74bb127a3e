"""What a pod must be like."""

import re
from typing import Iterator

from .manifests import NODE, Manifests, port_of
from .rules import DRAIN_SECONDS_MAX, HTTP_PORT, rule, rule_of_any_pod

# By which the binary takes its secrets, and which its --help has not: they are no flags.
SECRETS = ("DISCORD_TOKEN", "APOLO_API_TOKEN", "APOLO_BOT_TOKEN")

# The names in `apolo join --help`, by `known_settings`. Empty where no binary was given.
KNOWN: set[str] = set()


def known_settings(help_text: str) -> set[str]:
    """The names after `env:`, which a narrow terminal may have broken over lines."""
    listed = re.findall(r"\[env:([^\]]*)\]", help_text)
    names = {name for names in listed for name in re.findall(r"[A-Z][A-Z_]+", names)}
    return names | {secret + suffix for secret in SECRETS for suffix in ("", "_FILE")}


@rule
def probes_ask_the_node(m: Manifests) -> Iterator[str]:
    """Each question has its own path: /health for readiness would send people to a node without a quorum, /ready for
    liveness would kill nodes for Discord's outage."""
    paths = {"startupProbe": "/startup", "readinessProbe": "/ready", "livenessProbe": "/health"}
    for probe, path in paths.items():
        asked = m.node.get(probe, {}).get("httpGet", {})
        if asked.get("path") != path:
            yield f"{probe} asks {asked.get('path')} and not {path}"
        elif port_of(m.node, asked["port"]) != (HTTP_PORT, "TCP"):
            yield f"{probe} asks port {asked['port']}, which is not {HTTP_PORT}"


@rule
def probes_have_patience(m: Manifests) -> Iterator[str]:
    """A restart cures a process that hangs, and neither a disk that will be back nor a peer that is not there yet."""

    def seconds(probe: str) -> int:
        it = m.node.get(probe, {})
        return it.get("periodSeconds", 10) * it.get("failureThreshold", 3)

    if seconds("startupProbe") < 300:
        yield "a start that takes 5 minutes is ended: a node may wait for its peers' machines, or take a snapshot"
    if seconds("livenessProbe") < 30:
        yield "a node is ended in less than 30 s"
    if seconds("readinessProbe") > 10:
        yield "a node that is not ready is asked for more than 10 s, though it knows within 2"
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        if m.node.get(probe, {}).get("timeoutSeconds", 1) < 2:
            yield f"{probe} gives up after 1 s, which a busy machine may take"


@rule
def there_is_time_to_drain(m: Manifests) -> Iterator[str]:
    """SIGKILL in the middle of a drain makes a planned stop a failure: events are handled twice."""
    grace = m.pod.get("terminationGracePeriodSeconds", 30)
    stop = m.node.get("lifecycle", {}).get("preStop", {})
    if "exec" in stop and stop["exec"]["command"][0] != "apolo":
        yield "preStop runs what is not in the image: there is no shell"
    before = stop.get("sleep", {}).get("seconds", 0)
    if grace - before < DRAIN_SECONDS_MAX:
        yield f"{grace} s of grace, {before} of them before SIGTERM, and a drain takes up to {DRAIN_SECONDS_MAX}"


@rule
def bots_outlive_their_node(m: Manifests) -> Iterator[str]:
    """A drain waits for the bot to acknowledge; one that got SIGTERM with its node can't."""
    for container in m.pod["containers"]:
        if container["name"] != NODE:
            yield f"container {container['name']} ends with the node; make it an initContainer with restartPolicy: Always"
    for container in m.pod.get("initContainers", []):
        if container.get("restartPolicy") != "Always":
            yield f"initContainer {container['name']} is no sidecar, so the node waits for its end"


@rule_of_any_pod
def resources_are_set(m: Manifests) -> Iterator[str]:
    """A node without a share of the processor loses its lease to its neighbours, one without a limit of memory its
    neighbours to itself; and a limit of processor time stops it for parts of every 100 ms."""
    for name, _, container in m.containers():
        resources = container.get("resources", {})
        for kind, what in (("requests", "cpu"), ("requests", "memory"), ("limits", "memory")):
            if what not in resources.get(kind, {}):
                yield f"{name} has no {kind}.{what}"
        if "cpu" in resources.get("limits", {}) and container["name"] == NODE:
            yield f"{name} has limits.cpu"


@rule_of_any_pod
def images_are_of_a_version(m: Manifests) -> Iterator[str]:
    """Nodes of one cluster must be of the version that somebody chose, also the one that starts again at night."""
    for name, _, container in m.containers():
        image = container["image"]
        tag = image.rsplit("/", 1)[-1].partition(":")[2]
        if "@sha256:" not in image and tag in ("", "latest"):
            yield f"{name} runs {image}"


@rule
def settings_exist(m: Manifests) -> Iterator[str]:
    """A setting with a slip of the pen is one that is not set."""
    if KNOWN:
        for name in sorted(set(m.settings()) - KNOWN):
            yield f"{name} is no setting of apolo"
