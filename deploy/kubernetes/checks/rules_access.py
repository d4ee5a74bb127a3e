"""Who may do what."""

import ipaddress
import re
from typing import Iterator

from .manifests import Manifests, title
from .rules import HTTP_PORT, QUIC_PORT, rule, rule_of_any_pod

# The volumes of the restricted Pod Security Standard.
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}

SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSWORD|KEY$", re.IGNORECASE)


@rule_of_any_pod
def pods_are_restricted(m: Manifests) -> Iterator[str]:
    """The restricted Pod Security Standard is what a namespace may demand, and the node needs nothing beyond it."""
    for name, pod in m.pods():
        for field in ("hostNetwork", "hostPID", "hostIPC"):
            if pod.get(field):
                yield f"{name} has {field}"
        for volume in pod.get("volumes", []):
            for kind in set(volume) - {"name"} - VOLUMES:
                yield f"{name} has a volume of kind {kind}"
        if pod.get("securityContext", {}).get("fsGroup") is None:
            yield f"{name} has no fsGroup, so it can't write to its volume"
    for name, pod, container in m.containers():
        own = container.get("securityContext", {})
        both = {**pod.get("securityContext", {}), **own}
        if both.get("runAsNonRoot") is not True or not both.get("runAsUser"):
            yield f"{name} may run as root"
        if both.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
            yield f"{name} has no seccomp profile"
        if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
            yield f"{name} may gain privileges"
        if own.get("capabilities", {}).get("drop") != ["ALL"] or own.get("capabilities", {}).get("add"):
            yield f"{name} keeps capabilities"
        for port in container.get("ports", []):
            if "hostPort" in port:
                yield f"{name} takes a port of the machine"


@rule_of_any_pod
def root_file_systems_are_read_only(m: Manifests) -> Iterator[str]:
    """All that is written belongs on the data volume; elsewhere only an intruder writes."""
    for name, _, container in m.containers():
        if container.get("securityContext", {}).get("readOnlyRootFilesystem") is not True:
            yield f"{name} may write to its image"


@rule_of_any_pod
def secrets_are_in_secrets(m: Manifests) -> Iterator[str]:
    """ConfigMaps and values in manifests are read by many, and kept in version control."""

    def is_secret(name: str, value: object) -> bool:
        return bool(value) and bool(SECRET_NAME.search(name)) and not name.endswith("_FILE")

    for config in m.of("ConfigMap"):
        for name, value in config.get("data", {}).items():
            if is_secret(name, value) or "PRIVATE KEY-----" in str(value):
                yield f"{title(config)} holds {name}"
    for name, _, container in m.containers():
        for env in container.get("env", []):
            if is_secret(env["name"], env.get("value")):
                yield f"{name} has {env['name']} as a value"


@rule
def pods_hold_no_needless_rights(m: Manifests) -> Iterator[str]:
    """A node asks Kubernetes for nothing, or at most for its own StatefulSet; whoever takes it over gets no more."""
    account = m.pod.get("serviceAccountName")
    found = [it for it in m.of("ServiceAccount") if it["metadata"]["name"] == account]
    if not found:
        yield "the nodes run under the namespace's default ServiceAccount"
    if any(it.get("automountServiceAccountToken") is not False for it in found):
        yield f"ServiceAccount {account} gives its token to every pod"
    roles = m.of("Role")
    for name, pod in m.pods():
        if pod.get("automountServiceAccountToken") is not False and not (roles and pod is m.pod):
            yield f"{name} holds a token of the Kubernetes API and needs none"
    for role in roles:
        for rights in role["rules"]:
            own = rights.get("resourceNames") == [m.workload["metadata"]["name"]]
            if rights["resources"] != ["statefulsets"] or rights["verbs"] != ["get"] or not own:
                yield f"{title(role)} may do more than get this StatefulSet"
    for binding in m.of("RoleBinding"):
        for subject in binding["subjects"]:
            if subject.get("name") != account or "namespace" not in subject:
                yield f"{title(binding)} binds {subject}, which is not the pods' account in a namespace"
    for kind in ("ClusterRole", "ClusterRoleBinding"):
        for it in m.of(kind):
            yield f"{title(it)} reaches beyond the namespace"


@rule
def traffic_is_named(m: Manifests) -> Iterator[str]:
    """Only nodes speak to nodes, port 3000 is not for everybody, and a node that is taken over reaches no neighbour."""
    ours = [it for it in m.of("NetworkPolicy") if it["spec"]["podSelector"].get("matchLabels") == m.labels]
    if not any(set(it["spec"]["policyTypes"]) == {"Ingress", "Egress"} for it in ours):
        yield "no NetworkPolicy of the pods is about both directions"
    for policy in ours:
        for direction, side in (("ingress", "from"), ("egress", "to")):
            for opening in policy["spec"].get(direction, []):
                yield from opening_is_named(m, policy, opening, opening.get(side, []))


def opening_is_named(m: Manifests, policy: dict, opening: dict, peers: list) -> Iterator[str]:
    ports = {(it["port"], it.get("protocol", "TCP")) for it in opening.get("ports", [])}
    if not ports:
        yield f"{title(policy)} opens every port"
    if not peers:
        yield f"{title(policy)} opens {sorted(ports)} to everybody"
    for peer in peers:
        if (QUIC_PORT, "UDP") in ports and peer != {"podSelector": {"matchLabels": m.labels}}:
            yield f"{title(policy)} opens port {QUIC_PORT} to others than the nodes"
        if (HTTP_PORT, "TCP") in ports and peer.get("namespaceSelector") == {}:
            yield f"{title(policy)} opens port {HTTP_PORT} to every namespace"
        block = peer.get("ipBlock", {})
        if block and ipaddress.ip_network(block["cidr"]).prefixlen == 0 and not block.get("except"):
            yield f"{title(policy)} opens {sorted(ports)} to private networks too"


@rule
def port_3000_is_not_public(m: Manifests) -> Iterator[str]:
    """Reading needs no token, so what leads in from outside has to be an Ingress, which can ask for a log-in."""
    for service in m.of("Service"):
        if service["spec"].get("type", "ClusterIP") != "ClusterIP":
            yield f"{title(service)} is a {service['spec']['type']}"
    for ingress in m.of("Ingress"):
        if not ingress["spec"].get("tls"):
            yield f"{title(ingress)} has no TLS"
