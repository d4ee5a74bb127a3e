"""A set of manifests, with what the rules ask of it."""

from typing import Any, Iterator

import yaml

Object = dict[str, Any]

# The container that runs a node; any other is somebody's bot.
NODE = "apolo"


class Loader(yaml.CSafeLoader):
    """As Kubernetes reads YAML: dates and times stay text."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


class Manifests:
    def __init__(self, text: str):
        self.objects: list[Object] = [it for it in yaml.load_all(text, Loader) if it]

    def of(self, kind: str) -> list[Object]:
        return [it for it in self.objects if it["kind"] == kind]

    @property
    def workload(self) -> Object:
        [workload] = self.of("StatefulSet")
        return workload

    @property
    def spec(self) -> Object:
        return self.workload["spec"]

    @property
    def labels(self) -> dict[str, str]:
        return self.spec["template"]["metadata"]["labels"]

    @property
    def pod(self) -> Object:
        return self.spec["template"]["spec"]

    def pods(self) -> Iterator[tuple[str, Object]]:
        """Every pod that is asked for, the nodes' and others."""
        for it in self.objects:
            spec = it.get("spec", {})
            if it["kind"] == "Pod":
                yield title(it), spec
            elif it["kind"] == "CronJob":
                yield title(it), spec["jobTemplate"]["spec"]["template"]["spec"]
            elif "template" in spec:
                yield title(it), spec["template"]["spec"]

    def containers(self) -> Iterator[tuple[str, Object, Object]]:
        """The name, the pod and itself of each container."""
        for name, pod in self.pods():
            for container in [*pod.get("initContainers", []), *pod["containers"]]:
                yield f"{name}, container {container['name']},", pod, container

    @property
    def node(self) -> Object:
        [node] = [it for it in self.pod["containers"] if it["name"] == NODE]
        return node

    def settings(self) -> dict[str, Any]:
        """The node's environment: values as they are, references as None."""
        settings: dict[str, Any] = {}
        for source in self.node.get("envFrom", []):
            name = source.get("configMapRef", {}).get("name")
            for config in self.of("ConfigMap"):
                if config["metadata"]["name"] == name:
                    settings.update(config.get("data", {}))
        settings.update({it["name"]: it.get("value") for it in self.node.get("env", [])})
        return settings

    def autoscaler(self) -> Object | None:
        return next(iter(self.of("HorizontalPodAutoscaler")), None)

    def replicas(self) -> int:
        """With how many pods the set begins."""
        scaler = self.autoscaler()
        return scaler["spec"]["minReplicas"] if scaler else self.spec.get("replicas", 1)


def title(it: Object) -> str:
    return f"{it['kind']} {it['metadata']['name']}"


def selects(selector: dict[str, str] | None, labels: dict[str, str]) -> bool:
    return bool(selector) and all(labels.get(key) == value for key, value in selector.items())


def port_of(container: Object, port: str | int) -> tuple[int, str] | None:
    """The number and the protocol of a port that is named, or numbered."""
    for it in container.get("ports", []):
        if port in (it.get("name"), it["containerPort"]):
            return it["containerPort"], it.get("protocol", "TCP")
    return None
