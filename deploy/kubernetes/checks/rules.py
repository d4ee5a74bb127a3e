"""All rules by name. A rule is a function from manifests to what is wrong with them; its sentence says why it is one."""

from typing import Callable, Iterator

from .manifests import Manifests

Rule = Callable[[Manifests], Iterator[str]]
RULES: dict[str, Rule] = {}

# Those that hold for any pod, not the nodes' alone.
OF_ANY_POD: set[str] = set()

# What the rules know of the binary.
HTTP_PORT = 3000
QUIC_PORT = 7400
# Where the pod is scaled away and its node leaves.
DRAIN_SECONDS_MAX = 50
EXPECT_MAX = 5


def rule(function: Rule) -> Rule:
    RULES[function.__name__] = function
    return function


def rule_of_any_pod(function: Rule) -> Rule:
    OF_ANY_POD.add(function.__name__)
    return rule(function)


def broken(manifests: Manifests) -> dict[str, list[str]]:
    """The rules that do not hold, and why."""
    names = RULES if manifests.of("StatefulSet") else OF_ANY_POD
    found = {name: list(RULES[name](manifests)) for name in names}
    return {name: why for name, why in found.items() if why}


from . import rules_access, rules_cluster, rules_pods  # noqa: E402, F401: they enter themselves
