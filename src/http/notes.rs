//! What is not as it should be and makes no node unready: pure, from its [`View`].

use std::time::Duration;

use super::{NodeRow, View, ready::list};

/// An event that a consumer has had for so long is forgotten, or its handler hangs.
const UNACKNOWLEDGED_FOR: Duration = Duration::from_secs(60);

/// What an operator should know of a node that is ready all the same.
pub(super) fn notes(view: &View) -> Vec<String> {
    let over = view.target.iter().flat_map(|target| {
        target.over.iter().map(|excess| {
            format!(
                "{} runs {} shards, and SHARDS_PER_POD says {}: none may stay down; start more nodes",
                excess.node, excess.shards, target.shards_per_node
            )
        })
    });
    let groups = view.consumers.iter().flat_map(|consumers| &consumers.groups);
    let old = groups.filter_map(|group| {
        let age = Duration::from_millis(group.oldest_ms?);
        (age >= UNACKNOWLEDGED_FOR).then(|| {
            format!(
                "a consumer of group {} has had an event for {} s and not acknowledged it, which holds up the guild, and in \
                 the end the shard",
                group.name,
                age.as_secs()
            )
        })
    });
    over.chain(old).chain(flapping(view)).chain(held_back(view)).collect()
}

/// The cluster could write a newer format if some of its members allowed it.
fn held_back(view: &View) -> Option<String> {
    let allows = |node: &NodeRow| node.said.as_ref().and_then(|said| said.format_max);
    let newest =
        view.nodes.iter().filter_map(allows).max().filter(|newest| *newest > view.format)?;
    let behind = || view.nodes.iter().filter(|node| allows(node).is_none_or(|it| it < newest));
    let names = behind().map(|node| &node.name).chain(&view.never_started);
    let names: Vec<_> = names.map(String::as_str).collect();
    // Where all allow it the leader is about to raise it.
    names.first()?;
    let gone = behind().find(|node| node.lost).map(|node| &node.name);
    let gone = gone.or_else(|| view.never_started.first()).map(|name| {
        format!("; a member that is gone for good is taken out with `apolo remove {name}`")
    });
    Some(format!(
        "the cluster writes format {} and not {newest}, for {}: each node must have an apolo that reads it, and no older \
         APOLO_FORMAT_MAX{}",
        view.format,
        names.join(", "),
        gone.unwrap_or_default(),
    ))
}

/// Each of their connections looks well.
fn flapping(view: &View) -> Option<String> {
    let found = || view.shards.iter().filter(|row| row.connects_of_late.is_some());
    let why = found().find_map(|row| row.last_disconnect.as_deref());
    let why = why.unwrap_or("nothing is known of why");
    let shards = list(found())?;
    Some(format!(
        "connected again and again in the last 10 minutes: {shards}; the first for: {why}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{NodeSaid, Role, view::tests::view};
    use crate::model::Format;

    #[test]
    fn who_holds_a_format_back_is_named_and_only_who_is_gone_is_to_be_removed() {
        let said = |format_max| NodeSaid {
            version: String::new(),
            uptime_ms: 0,
            lag: 0,
            round_trip_us: 0,
            format_max,
        };
        let node = |name: &str, lost, said| NodeRow {
            id: name.to_owned(),
            name: name.to_owned(),
            role: Role::Voter,
            lost,
            drains: false,
            shards: 0,
            boot: 1,
            said,
        };
        let mut view = View { format: Format(5), ..view(1) };
        view.nodes = vec![node("apolo-0", false, Some(said(Some(Format(6)))))];
        assert_eq!(held_back(&view), None, "it is about to be raised");

        view.nodes.push(node("apolo-1", false, Some(said(Some(Format(5))))));
        let text = held_back(&view).unwrap();
        assert!(text.starts_with("the cluster writes format 5 and not 6, for apolo-1:"), "{text}");
        assert!(!text.contains("apolo remove"), "{text}");

        view.nodes.push(node("apolo-2", true, None));
        assert!(held_back(&view).unwrap().ends_with("taken out with `apolo remove apolo-2`"));
        view.format = Format(6);
        assert_eq!(held_back(&view), None);
    }
}
