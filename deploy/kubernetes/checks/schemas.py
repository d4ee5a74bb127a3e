"""Holds manifests against Kubernetes' own schemas, of the last versions that kubernetes-validate has."""

import functools
import json

import kubernetes_validate
from kubernetes_validate import utils

from .manifests import Manifests, Object, title

VERSIONS = list(dict.fromkeys(utils.all_versions()))[-3:]

# Prometheus' operator: no part of Kubernetes, and so of its schemas.
FOREIGN = "monitoring.coreos.com/"

# It reads 3 MB anew for each object.
utils.schema_contents = functools.cache(utils.schema_contents)


def broken(manifests: Manifests) -> list[str]:
    objects = [it for it in manifests.objects if not it["apiVersion"].startswith(FOREIGN)]
    return [why for it in objects for version in VERSIONS for why in broken_object(json.dumps(it), version)]


# Most objects are the same in every overlay, and in every broken manifest.
@functools.cache
def broken_object(text: str, version: str) -> list[str]:
    it: Object = json.loads(text)
    try:
        kubernetes_validate.validate(it, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        path = ".".join(str(part) for part in error.path)
        return [f"{title(it)}, Kubernetes {version}: {path}: {error.message}"]
    except utils.SchemaNotFoundError as error:
        return [f"{title(it)}: {error.message}"]
    return []
