//! A stand-in for the kubelet and for the StatefulSets' controller, with the values of the manifests in
//! `deploy/kubernetes/base`: what Kubernetes does to a cluster in an ordinary week, with real processes and in real time.
//!
//! ```text
//!   statefulset.yaml ─▶ controller ──create, delete──▶ kubelet of each pod ──start, SIGTERM, SIGKILL──▶ node + victim bot
//!   config.yaml            ▲ settled?                     ▲ ready, alive? ◀──── /startup, /ready, /health ────┘
//! ```
//!
//! It promises the kubelet's probes, grace periods, back-off and volumes, the controller's order, and a new address for
//! each pod that is made. It does not pull images, attach disks, route a Service or enforce limits, it names the
//! peers by address where Kubernetes has DNS, and of the API server it has the one question that a pod may ask.

mod api;
mod backoff;
mod gaps;
mod manifest;
mod pod;
mod probe;
mod report;
mod runner;
mod scenario;
mod stage;
mod statefulset;

pub use manifest::{Manifest, ManifestError};
pub use report::KubeletReport;
pub use scenario::{KubeletOptions, Scenario, kubelet};
