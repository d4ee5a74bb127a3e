//! How the nodes of a cluster say that they are, asked again and again.

use std::{collections::BTreeMap, fmt, net::SocketAddr, time::Duration};

use apolo::http::Readiness;
use tokio::time::{Instant, sleep, timeout};

use super::{
    super::{
        cluster::{Cluster, ClusterError},
        nodes::request,
    },
    OutageOptions,
};

/// What an answer begins with that a probe takes for success.
const OK: &str = "HTTP/1.1 200 ";

/// What `/ready` says where no shard of any node is connected.
const DOWN: &str = "Discord or the way to it is down";

/// Between two probes of a node.
const PROBE_EVERY: Duration = Duration::from_millis(500);

const PROBE_WITHIN: Duration = Duration::from_secs(2);

/// More reasons than this are not told apart: the first ones are what one looks into.
const REASONS_MAX: usize = 8;

/// Probes of all nodes, and why some failed.
#[derive(Clone, Debug, Default)]
pub struct Probes {
    /// Times that all nodes were asked.
    pub asked: usize,
    /// Times that not every node answered with 200.
    pub red: usize,
    /// What the first node that did not has said.
    reasons: BTreeMap<String, Red>,
}

/// One reason.
#[derive(Clone, Debug)]
struct Red {
    count: usize,
    first: Duration,
    last: Duration,
    said: String,
}

impl Probes {
    async fn ask(&mut self, nodes: &[SocketAddr], path: &str, at: Duration) {
        self.asked += 1;
        let Some((reason, said)) = fault(nodes, path).await else { return };
        self.red += 1;
        if self.reasons.len() < REASONS_MAX || self.reasons.contains_key(&reason) {
            let new = || Red { count: 0, first: at, last: at, said };
            let red = self.reasons.entry(reason).or_insert_with(new);
            (red.count, red.last) = (red.count + 1, at);
        }
    }

    /// Those behind, which began so much later.
    fn then(mut self, later: Self, by: Duration) -> Self {
        self.asked += later.asked;
        self.red += later.red;
        for (reason, red) in later.reasons {
            let (first, last) = (by + red.first, by + red.last);
            let same = self.reasons.entry(reason).or_insert(Red { count: 0, first, ..red });
            (same.count, same.last) = (same.count + red.count, last);
        }
        self
    }
}

/// Asks every node how it is, also after one was killed, if one is. Returns when all said that Discord is down.
pub(super) async fn probe_while_down(
    running: &mut Cluster,
    options: OutageOptions,
    told: impl Fn(u64),
) -> Result<(Probes, Option<Duration>), ClusterError> {
    let half = options.lasts / 2;
    let (before, told_before) = probe(&living(running), half, &told).await;
    if options.kills {
        let last = running.nodes.living().last().unwrap_or_default();
        running.kill(last).await?;
    }
    let told = |second| told(half.as_secs() + second);
    let (after, told_after) = probe(&living(running), options.lasts - half, told).await;
    let told_after = told_before.or_else(|| Some(half + told_after?));
    Ok((before.then(after, half), told_after))
}

/// Where the living nodes answer.
pub(super) fn living(running: &Cluster) -> Vec<SocketAddr> {
    let all = running.nodes.http_addresses();
    running.nodes.living().map(|nth| all[nth]).collect()
}

async fn probe(
    nodes: &[SocketAddr],
    lasts: Duration,
    told: impl Fn(u64),
) -> (Probes, Option<Duration>) {
    let (began, mut probes, mut told_after) = (Instant::now(), Probes::default(), None);
    while began.elapsed() < lasts {
        for path in ["/health", "/ready"] {
            probes.ask(nodes, path, began.elapsed()).await;
        }
        if told_after.is_none() && all(nodes, "/ready", |answer| answer.contains(DOWN)).await {
            told_after = Some(began.elapsed());
        }
        told(began.elapsed().as_secs());
        sleep(PROBE_EVERY.min(lasts.saturating_sub(began.elapsed()))).await;
    }
    (probes, told_after)
}

/// Asks every node whether it is ready until something has come about.
pub(super) async fn with_probes<T>(
    something: impl Future<Output = T>,
    nodes: &[SocketAddr],
) -> (T, Probes) {
    let (began, mut probes) = (Instant::now(), Probes::default());
    let mut something = std::pin::pin!(something);
    loop {
        tokio::select! {
            done = &mut something => return (done, probes),
            () = sleep(PROBE_EVERY) => {}
        }
        probes.ask(nodes, "/ready", began.elapsed()).await;
    }
}

/// Whether every node is ready, and says no longer that Discord is down.
pub(super) async fn all_say_up(nodes: &[SocketAddr]) -> bool {
    all(nodes, "/ready", |answer| answer.starts_with(OK) && !answer.contains(DOWN)).await
}

async fn all(nodes: &[SocketAddr], path: &str, so: impl Fn(&str) -> bool) -> bool {
    for node in nodes {
        if !answer(*node, path).await.is_some_and(|answer| so(&answer)) {
            return false;
        }
    }
    true
}

/// The first node's that does not answer with 200: a reason to count by, and its words.
async fn fault(nodes: &[SocketAddr], path: &str) -> Option<(String, String)> {
    for node in nodes {
        match answer(*node, path).await {
            Some(answer) if answer.starts_with(OK) => {}
            Some(answer) => return Some(reason(path, &answer)),
            None => return Some((format!("{path}: no answer"), String::new())),
        }
    }
    None
}

/// Conditions are what alerts go by: those that don't hold, and their details.
fn reason(path: &str, answer: &str) -> (String, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let Ok(readiness) = serde_json::from_str::<Readiness>(body) else {
        return (format!("{path}: {}", head.lines().next().unwrap_or_default()), body.to_owned());
    };
    let failing = readiness.conditions.iter().filter(|it| !it.holds);
    let (names, details): (Vec<_>, Vec<_>) =
        failing.map(|it| (it.name.as_str(), it.detail.as_str())).unzip();
    (format!("{path}: {}", names.join(", ")), details.join("; "))
}

async fn answer(node: SocketAddr, path: &str) -> Option<String> {
    let text = format!("GET {path} HTTP/1.1\r\nHost: apolo\r\nConnection: close\r\n\r\n");
    let answer = timeout(PROBE_WITHIN, request(node, &text)).await.ok()??;
    Some(String::from_utf8_lossy(&answer).into_owned())
}

impl fmt::Display for Probes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} not 200 of every node", self.red, self.asked)?;
        for (reason, Red { count, first, last, said }) in &self.reasons {
            write!(f, "\n                   {count} {reason}, {first:.0?} to {last:.0?}: {said}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_red_answer_is_counted_by_its_conditions_and_keeps_its_words() {
        let body = r#"{"ready":false,"conditions":[
            {"name":"lease","holds":true,"detail":"may run shards"},
            {"name":"shard 3","holds":false,"detail":"is dead"}]}"#;

        let answer = format!("HTTP/1.1 503 Service Unavailable\r\nA: b\r\n\r\n{body}");
        assert_eq!(reason("/ready", &answer), ("/ready: shard 3".to_owned(), "is dead".to_owned()));

        let stalled = "HTTP/1.1 503 Service Unavailable\r\n\r\nstalled";
        let status = "/health: HTTP/1.1 503 Service Unavailable".to_owned();
        assert_eq!(reason("/health", stalled), (status, "stalled".to_owned()));
    }

    #[test]
    fn reasons_of_two_times_are_told_once_and_late_enough() {
        let second = Duration::from_secs(1);
        let red = |count, first, last| Red { count, first, last, said: String::new() };
        let of = |red| Probes {
            asked: 10,
            red: 2,
            reasons: BTreeMap::from([("/ready: lease".to_owned(), red)]),
        };

        let both = of(red(2, second, 2 * second)).then(of(red(2, second, 3 * second)), 10 * second);

        let told = both.to_string();
        assert!(told.starts_with("4 of 20 "), "{told}");
        assert!(told.contains("4 /ready: lease, 1s to 13s"), "{told}");
    }
}
