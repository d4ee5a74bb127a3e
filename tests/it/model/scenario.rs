//! What is explored: how much of what, and from where on.

use std::collections::BTreeSet;

use stateright::{Checker, HasDiscoveries, Model as _};

use super::{
    Rule, Rules,
    log::Index,
    machine::{Action, Protocol},
    properties,
    time::Timing,
};

/// How much is explored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// The highest term. The first leader's is 1.
    pub(super) terms: u8,
    /// The last index of the log. The first leader's first entry is 1.
    pub(super) entries: Index,
    /// Messages in flight at once.
    pub(super) messages: usize,
    /// Restarts in all.
    pub(super) restarts: u8,
    /// Handoffs in all.
    pub(super) handoffs: u8,
    /// Transfers in all.
    pub(super) transfers: u8,
    /// Renewals take time on their way to the leader.
    pub(super) slow_renewals: bool,
    /// Grants take time on their way back.
    pub(super) slow_grants: bool,
    /// A leader decides on a loss in one step and proposes it in another.
    pub(super) slow_losses: bool,
    /// Acknowledgements of a leader's rounds take time.
    pub(super) slow_rounds: bool,
    /// Time stands still, where leases are not the question.
    pub(super) still: bool,
    /// Events in each session of shard 1. Shard 0 stays without.
    pub(super) events: u8,
    /// Sessions that Discord drops.
    pub(super) drops: u8,
    /// For every state, ask also whether a healed cluster owns every shard again.
    pub(super) settle: bool,
}

impl Bounds {
    pub(super) const NONE: Self = Self {
        terms: 1,
        entries: 1,
        messages: 0,
        restarts: 0,
        handoffs: 0,
        transfers: 0,
        slow_renewals: false,
        slow_grants: false,
        slow_losses: false,
        slow_rounds: false,
        still: false,
        events: 0,
        drops: 0,
        settle: false,
    };
}

/// An exploration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scenario {
    pub(super) timing: Timing,
    pub(super) bounds: Bounds,
    /// What has happened before it begins, to a cluster that has just formed.
    pub(super) before: &'static [Action],
    /// The longest path, or `None` for every state there is.
    pub(super) steps: Option<usize>,
}

impl Scenario {
    /// Fails where a property does not hold.
    #[track_caller]
    pub(super) fn holds(&self) {
        let checker = self.explore(Rules::default(), HasDiscoveries::AnyFailures);
        for property in properties::FORBIDDING {
            if let Some(path) = checker.discovery(property) {
                panic!("{property}: violated by {:#?}", path.into_actions());
            }
        }
        let told = format!("{} states, {} deep", checker.unique_state_count(), checker.max_depth());
        assert!(checker.discovery(properties::NEXT_OWNER).is_some(), "nothing happened in {told}");
    }

    /// Fails where a property holds although a rule is taken out.
    #[track_caller]
    pub(super) fn needs(&self, rule: Rule, property: &'static str) {
        let until = HasDiscoveries::AnyOf(BTreeSet::from([property]));
        let checker = self.explore(Rules::without(rule), until);
        let found = checker.discovery(property);
        assert!(found.is_some(), "{property}: holds without {rule:?}, so that rule is idle");
    }

    /// Fails where a property holds.
    #[track_caller]
    pub(super) fn breaks(&self, property: &'static str) {
        let until = HasDiscoveries::AnyOf(BTreeSet::from([property]));
        let checker = self.explore(Rules::default(), until);
        assert!(checker.discovery(property).is_some(), "{property}: holds");
    }

    fn explore(&self, rules: Rules, until: HasDiscoveries) -> impl Checker<Protocol> {
        let Self { timing, bounds, before, steps } = *self;
        let checker = Protocol { timing, bounds, rules, before }.checker().finish_when(until);
        let checker = match steps {
            // A path of n steps has n + 1 states, and the checker looks at those below its depth.
            Some(steps) => checker.target_max_depth(steps + 2),
            None => checker,
        };
        checker.spawn_bfs().join()
    }
}
