"""What a cluster needs of Kubernetes."""

from typing import Iterator

from .manifests import Manifests, port_of, selects, title
from .rules import EXPECT_MAX, HTTP_PORT, QUIC_PORT, rule


@rule
def pods_start_in_parallel(m: Manifests) -> Iterator[str]:
    """A first pod that has to be ready before there is a second never forms a cluster with it."""
    if m.spec.get("podManagementPolicy") != "Parallel":
        yield "podManagementPolicy is not Parallel"


@rule
def peers_are_found_before_they_are_ready(m: Manifests) -> Iterator[str]:
    """Nodes are ready once they are members, so they must find each other before."""
    name = m.spec["serviceName"]
    service = next((it for it in m.of("Service") if it["metadata"]["name"] == name), None)
    if service is None:
        yield f"there is no Service {name}, the StatefulSet's serviceName"
        return
    if service["spec"].get("clusterIP") != "None":
        yield f"{title(service)} has an address of its own, so DNS does not name the pods"
    if service["spec"].get("publishNotReadyAddresses") is not True:
        yield f"{title(service)} hides pods that are not ready"
    discover = m.settings().get("APOLO_DISCOVER", "")
    if m.replicas() > 1 and discover.removeprefix("dns:").split(".")[0] != name:
        yield f"APOLO_DISCOVER is {discover}, and the pods are found by {name}"


@rule
def a_cluster_can_form(m: Manifests) -> Iterator[str]:
    """Exactly so many empty nodes as are expected form a cluster: with one more or less, none."""
    expect = int(m.settings().get("APOLO_EXPECT", 1))
    if expect != m.replicas():
        yield f"APOLO_EXPECT is {expect}, and the set begins with {m.replicas()} pods"
    if not 1 <= expect <= EXPECT_MAX:
        yield f"APOLO_EXPECT is {expect}, and {EXPECT_MAX} at most form a cluster: begin with fewer and scale"


@rule
def the_budget_leaves_a_quorum(m: Manifests) -> Iterator[str]:
    """A machine's drain that takes two of three voters stops the bot; one that can take none stops the drain."""
    budgets = [it for it in m.of("PodDisruptionBudget") if it["spec"]["selector"]["matchLabels"] == m.labels]
    if m.replicas() < 3:
        if budgets:
            yield f"{m.replicas()} nodes have no quorum to spare, so {title(budgets[0])} only blocks drains"
        return
    if not budgets:
        yield "there is no PodDisruptionBudget for the pods"
    for budget in budgets:
        spec = budget["spec"]
        if spec.get("maxUnavailable") != 1:
            yield f"{title(budget)} does not say maxUnavailable: 1"
        if spec.get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
            yield f"{title(budget)} lets all pods be evicted at once while none is ready, as in an outage of Discord's"


@rule
def volumes_outlive_their_pods(m: Manifests) -> Iterator[str]:
    """A node's identity, sessions and votes are on its disk; a scale to 0 must not delete a cluster."""
    policy = m.spec.get("persistentVolumeClaimRetentionPolicy", {})
    for when in ("whenDeleted", "whenScaled"):
        if policy.get(when) != "Retain":
            yield f"persistentVolumeClaimRetentionPolicy.{when} is not Retain"
    claims = {it["metadata"]["name"] for it in m.spec.get("volumeClaimTemplates", [])}
    directory = m.settings().get("APOLO_DATA_DIR")
    mounts = [it for it in m.node["volumeMounts"] if it["mountPath"] == directory]
    if not any(it["name"] in claims for it in mounts):
        yield f"no volumeClaimTemplate is mounted at {directory}, the data directory"


@rule
def autoscaling_is_slow_and_keeps_three(m: Manifests) -> Iterator[str]:
    """Fewer than three nodes survive no loss, and a voter that goes must be replaced before the next one does."""
    scaler = m.autoscaler()
    if scaler is None:
        return
    if scaler["spec"].get("minReplicas", 1) < 3:
        yield f"{title(scaler)} may go below 3 nodes"
    if "replicas" in m.spec:
        yield f"{title(m.workload)} says replicas, so every apply undoes what {title(scaler)} did"
    down = scaler["spec"].get("behavior", {}).get("scaleDown", {})
    if down.get("stabilizationWindowSeconds", 300) < 1800:
        yield f"{title(scaler)} scales down after less than half an hour"
    for policy in down.get("policies", [{"type": "Percent"}]):
        if policy["type"] != "Pods" or policy["value"] != 1 or policy["periodSeconds"] < 300:
            yield f"{title(scaler)} takes more than one node in 5 minutes"


@rule
def one_pod_is_updated_at_a_time(m: Manifests) -> Iterator[str]:
    """The next voter may stop only when the last one votes again, which takes 5 s of keeping up."""
    strategy = m.spec.get("updateStrategy", {})
    if strategy.get("type", "RollingUpdate") != "RollingUpdate":
        yield "pods are not updated by themselves"
    if strategy.get("rollingUpdate", {}).get("maxUnavailable", 1) != 1:
        yield "more than one pod is updated at a time"
    if m.spec.get("minReadySeconds", 0) < 10:
        yield "minReadySeconds is below 10"


@rule
def nodes_are_apart(m: Manifests) -> Iterator[str]:
    """Voters on one machine, or in one zone, are lost together."""
    spread = {it["topologyKey"] for it in m.pod.get("topologySpreadConstraints", [])}
    terms = m.pod.get("affinity", {}).get("podAntiAffinity", {})
    spread |= {it["topologyKey"] for it in terms.get("requiredDuringSchedulingIgnoredDuringExecution", [])}
    preferred = terms.get("preferredDuringSchedulingIgnoredDuringExecution", [])
    spread |= {it["podAffinityTerm"]["topologyKey"] for it in preferred}
    for key in {"kubernetes.io/hostname", "topology.kubernetes.io/zone"} - spread:
        yield f"nothing keeps pods apart by {key}"


@rule
def selectors_select_the_pods(m: Manifests) -> Iterator[str]:
    """A selector with a slip of the pen selects nothing, and nobody says so."""
    rules: list[tuple[str, dict[str, str] | None]] = [(title(m.workload), m.spec["selector"]["matchLabels"])]
    rules += [(title(it), it["spec"].get("selector")) for it in m.of("Service")]
    rules += [(title(it), it["spec"]["selector"]["matchLabels"]) for it in m.of("PodDisruptionBudget")]
    rules += [(title(it), it["spec"]["podSelector"].get("matchLabels")) for it in m.of("NetworkPolicy")]
    for spread in m.pod.get("topologySpreadConstraints", []):
        rules.append((f"the spread by {spread['topologyKey']}", spread["labelSelector"]["matchLabels"]))
    rules += [(title(it), it["spec"]["selector"]["matchLabels"]) for it in m.of("PodMonitor")]
    for name, selector in rules:
        if not selects(selector, m.labels):
            yield f"{name} selects {selector}, and the pods are {m.labels}"
    for scaler in m.of("HorizontalPodAutoscaler"):
        if scaler["spec"]["scaleTargetRef"]["name"] != m.workload["metadata"]["name"]:
            yield f"{title(scaler)} scales something else"


@rule
def services_reach_the_ports(m: Manifests) -> Iterator[str]:
    """Port 7400 is UDP and port 3000 is TCP; a Service of the other protocol reaches nobody."""
    wanted = {HTTP_PORT: "TCP", QUIC_PORT: "UDP"}
    for service in m.of("Service"):
        for port in service["spec"]["ports"]:
            found = port_of(m.node, port["targetPort"])
            protocol = port.get("protocol", "TCP")
            if found is None or found[1] != protocol or wanted.get(found[0]) != protocol:
                yield f"{title(service)} leads {port['port']}/{protocol} to {port['targetPort']}, where nobody listens"
    services = {it["metadata"]["name"] for it in m.of("Service")}
    for ingress in m.of("Ingress"):
        for host in ingress["spec"]["rules"]:
            for path in host["http"]["paths"]:
                if path["backend"]["service"]["name"] not in services:
                    yield f"{title(ingress)} leads to no Service"
