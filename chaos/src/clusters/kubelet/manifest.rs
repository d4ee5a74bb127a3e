//! What a kubelet and the StatefulSets' controller read in `deploy/kubernetes/base`. A value that they would not
//! understand, or that is not modelled here, is an error; a field with `_` is read for that alone.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, de::Error as _};

/// The StatefulSet and its ConfigMap.
#[derive(Clone, Debug)]
pub struct Manifest {
    pub(super) set: StatefulSet,
    pub(super) settings: BTreeMap<String, String>,
}

/// Why a manifest can't be used.
pub type ManifestError = serde_saphyr::Error;

const STATEFUL_SET: &str = include_str!("../../../../deploy/kubernetes/base/statefulset.yaml");

const CONFIG: &str = include_str!("../../../../deploy/kubernetes/base/config.yaml");

impl Manifest {
    /// The base's.
    ///
    /// # Errors
    ///
    /// Where it says something that is not modelled.
    pub fn base() -> Result<Self, ManifestError> {
        Self::read(STATEFUL_SET, CONFIG)
    }

    fn read(stateful_set: &str, config: &str) -> Result<Self, ManifestError> {
        let config: ConfigMap = serde_saphyr::from_str(config)?;
        let set: StatefulSet = serde_saphyr::from_str(stateful_set)?;
        if let [container] = &set.spec.template.spec.containers[..] {
            let from = container.env_from.iter().map(|from| &from.config_map_ref.name);
            if from.eq([&config.metadata.name]) {
                return Ok(Self { set, settings: config.data });
            }
        }
        Err(ManifestError::custom("one container with the settings of one ConfigMap was expected"))
    }

    /// Another value for a setting of the ConfigMap.
    pub fn set(&mut self, key: String, value: String) {
        self.settings.insert(key, value);
    }

    /// Another time between SIGTERM and SIGKILL.
    pub fn set_grace(&mut self, seconds: u64) {
        self.set.spec.template.spec.termination_grace_period_seconds = seconds;
    }

    /// Another order of starting.
    pub fn start_in_order(&mut self) {
        self.set.spec.pod_management_policy = PodManagement::OrderedReady;
    }

    /// Pods.
    #[must_use]
    pub fn replicas(&self) -> u32 {
        self.set.spec.replicas
    }

    pub(super) fn name(&self) -> &str {
        &self.set.metadata.name
    }

    pub(super) fn container(&self) -> &Container {
        &self.set.spec.template.spec.containers[0]
    }

    pub(super) fn grace(&self) -> Duration {
        Duration::from_secs(self.set.spec.template.spec.termination_grace_period_seconds)
    }

    pub(super) fn min_ready(&self) -> Duration {
        Duration::from_secs(self.set.spec.min_ready_seconds)
    }
}

#[derive(Clone, Debug, Deserialize)]
struct ConfigMap {
    metadata: Metadata,
    data: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct StatefulSet {
    metadata: Metadata,
    pub(super) spec: Spec,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Metadata {
    pub(super) name: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    replicas: u32,
    #[serde(default)]
    pub(super) pod_management_policy: PodManagement,
    #[serde(default, rename = "updateStrategy")]
    _update_strategy: UpdateStrategy,
    #[serde(default)]
    min_ready_seconds: u64,
    #[serde(default)]
    pub(super) persistent_volume_claim_retention_policy: Retentions,
    template: Template,
    #[serde(default)]
    pub(super) volume_claim_templates: Vec<Claim>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
pub(super) enum PodManagement {
    /// Each when the one before is available.
    #[default]
    OrderedReady,
    /// All at once.
    Parallel,
}

/// `OnDelete` and a partition are not modelled.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateStrategy {
    #[serde(default, rename = "type")]
    _kind: UpdateKind,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
enum UpdateKind {
    #[default]
    RollingUpdate,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Retentions {
    #[serde(default)]
    pub(super) when_scaled: Retention,
}

/// Of the claims of pods that are scaled away.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
pub(super) enum Retention {
    #[default]
    Retain,
    Delete,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Claim {
    pub(super) metadata: Metadata,
}

#[derive(Clone, Debug, Deserialize)]
struct Template {
    spec: PodSpec,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodSpec {
    #[serde(default = "grace_by_default")]
    termination_grace_period_seconds: u64,
    containers: Vec<Container>,
}

/// Kubernetes' own.
const fn grace_by_default() -> u64 {
    30
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Container {
    #[serde(default)]
    env_from: Vec<EnvFrom>,
    #[serde(default)]
    pub(super) env: Vec<Variable>,
    pub(super) startup_probe: ProbeSpec,
    pub(super) readiness_probe: ProbeSpec,
    pub(super) liveness_probe: ProbeSpec,
    #[serde(default)]
    pub(super) volume_mounts: Vec<Mount>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EnvFrom {
    config_map_ref: Metadata,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Variable {
    Plain {
        name: String,
        value: String,
    },
    Field {
        name: String,
        #[serde(rename = "valueFrom")]
        _value_from: ValueFrom,
    },
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ValueFrom {
    #[serde(rename = "fieldRef")]
    _field_ref: FieldRef,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FieldRef {
    #[serde(rename = "fieldPath")]
    _field_path: FieldPath,
}

/// The one field that a stand-in can know.
#[derive(Clone, Copy, Debug, Deserialize)]
enum FieldPath {
    #[serde(rename = "metadata.name")]
    PodName,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Mount {
    pub(super) name: String,
    pub(super) mount_path: String,
}

/// A probe, with what Kubernetes takes where the manifest is silent.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct ProbeSpec {
    pub(super) http_get: HttpGet,
    pub(super) initial_delay_seconds: u64,
    pub(super) period_seconds: u64,
    pub(super) timeout_seconds: u64,
    pub(super) success_threshold: u32,
    pub(super) failure_threshold: u32,
    /// Instead of the pod's, where it is this probe that stops the container.
    pub(super) termination_grace_period_seconds: Option<u64>,
}

impl Default for ProbeSpec {
    fn default() -> Self {
        Self {
            http_get: HttpGet::default(),
            initial_delay_seconds: 0,
            period_seconds: 10,
            timeout_seconds: 1,
            success_threshold: 1,
            failure_threshold: 3,
            termination_grace_period_seconds: None,
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpGet {
    pub(super) path: String,
    #[serde(rename = "port")]
    _port: HttpPort,
}

/// Every probe asks the port that the pod calls so.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
enum HttpPort {
    #[default]
    #[serde(rename = "http")]
    Http,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(from: &str, to: &str) -> bool {
        assert!(STATEFUL_SET.contains(from), "{from}");
        Manifest::read(&STATEFUL_SET.replace(from, to), CONFIG).is_err()
    }

    #[test]
    fn the_base_says_what_a_kubelet_does() {
        let manifest = Manifest::base().unwrap();

        let container = manifest.container();
        let probes =
            [&container.startup_probe, &container.readiness_probe, &container.liveness_probe];
        let paths = probes.map(|probe| probe.http_get.path.as_str());
        assert_eq!(paths, ["/startup", "/ready", "/health"]);
        assert!(probes.iter().all(|probe| probe.timeout_seconds > 1 && probe.period_seconds < 10));
        assert!(manifest.grace() > Duration::from_secs(30));
        assert_eq!(manifest.set.spec.pod_management_policy, PodManagement::Parallel);
        assert_eq!(manifest.settings["APOLO_EXPECT"], manifest.replicas().to_string());
    }

    #[test]
    fn what_is_not_modelled_is_an_error() {
        assert!(broken("type: RollingUpdate", "type: OnDelete"));
        assert!(broken("type: RollingUpdate", "rollingUpdate: { partition: 1 }"));
        assert!(broken("fieldPath: metadata.name", "fieldPath: status.podIP"));
        assert!(broken("configMapRef: { name: apolo-config }", "configMapRef: { name: other }"));
        assert!(broken(
            "httpGet: { path: /ready, port: http }",
            "exec: { command: [apolo, health] }"
        ));
    }
}
