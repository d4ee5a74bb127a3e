//! Whether the pod of a node that is asked to stop comes back.
//!
//! A StatefulSet is scaled down by deleting its highest pods, which from within looks like any restart. Whoever may read
//! the StatefulSet can tell: a pod whose ordinal is beyond the replicas is not made again, so its node leaves the cluster
//! instead of staying a member that is never there. Nothing else of Kubernetes is needed or asked for.

mod api;

use std::path::PathBuf;

use serde::Deserialize;
use url::Url;

pub use api::Problem;

/// A pod of a StatefulSet, and its way to Kubernetes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pod {
    /// The StatefulSet's name.
    set: String,
    ordinal: u32,
    api: Url,
    /// Where the pod's rights are: `token`, `namespace` and `ca.crt`.
    rights: PathBuf,
}

/// What matters of a StatefulSet (apps/v1).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
struct StatefulSet {
    metadata: Metadata,
    spec: Spec,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    deletion_timestamp: Option<String>,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
struct Spec {
    replicas: u32,
    ordinals: Option<Ordinals>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
struct Ordinals {
    #[serde(default)]
    start: u32,
}

impl Pod {
    /// The pod of this name, if it is one of a StatefulSet: `NAME-ORDINAL`.
    #[must_use]
    pub fn named(name: &str, api: Url, rights: PathBuf) -> Option<Self> {
        let (set, ordinal) = name.rsplit_once('-')?;
        let ordinal = ordinal.parse().ok().filter(|_| !set.is_empty())?;
        Some(Self { set: set.to_owned(), ordinal, api, rights })
    }

    /// Whether this pod is not made again. False without rights to ask, which is how most run, and of a StatefulSet that is
    /// gone.
    ///
    /// # Errors
    ///
    /// [`Problem`], within 2 s: the rights are there and do not serve.
    pub async fn is_scaled_away(&self) -> Result<bool, Problem> {
        let set = api::stateful_set(self).await?;
        Ok(set.is_some_and(|set| set.has_no_more(self.ordinal)))
    }
}

impl StatefulSet {
    /// Whether the pod with this number is beyond the replicas, and others are not. One that is scaled to 0, or deleted,
    /// stops as a whole: its nodes find each other again on their disks.
    fn has_no_more(&self, ordinal: u32) -> bool {
        let start = self.spec.ordinals.map_or(0, |ordinals| ordinals.start);
        let wanted = start..start.saturating_add(self.spec.replicas);
        self.metadata.deletion_timestamp.is_none()
            && !wanted.is_empty()
            && !wanted.contains(&ordinal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str) -> Option<(String, u32)> {
        let api = Url::parse("https://kubernetes.default.svc").unwrap();
        Pod::named(name, api, PathBuf::new()).map(|pod| (pod.set, pod.ordinal))
    }

    fn set(json: &str) -> StatefulSet {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_pods_name_ends_in_its_number() {
        assert_eq!(pod("apolo-bot-12"), Some(("apolo-bot".to_owned(), 12)));
        assert_eq!(pod("apolo-bot"), None);
        assert_eq!(pod("-3"), None);
        assert_eq!(pod("host.example.org"), None);
    }

    #[test]
    fn only_pods_beyond_the_replicas_are_not_made_again() {
        let three = set(r#"{"metadata": {"name": "apolo-bot"}, "spec": {"replicas": 3}}"#);

        assert!(!three.has_no_more(2));
        assert!(three.has_no_more(3));
        assert!(three.has_no_more(4));
    }

    #[test]
    fn a_stateful_set_may_begin_to_count_elsewhere() {
        let from_five =
            set(r#"{"metadata": {}, "spec": {"replicas": 2, "ordinals": {"start": 5}}}"#);

        assert!(from_five.has_no_more(4));
        assert!(!from_five.has_no_more(5));
        assert!(!from_five.has_no_more(6));
        assert!(from_five.has_no_more(7));
    }

    #[test]
    fn one_that_is_scaled_to_0_or_deleted_stops_as_a_whole() {
        let none = set(r#"{"metadata": {}, "spec": {"replicas": 0}}"#);
        let deleted = set(
            r#"{"metadata": {"deletionTimestamp": "2026-11-28T00:00:00Z"}, "spec": {"replicas": 1}}"#,
        );

        assert!(!none.has_no_more(0));
        assert!(!deleted.has_no_more(4));
    }
}
