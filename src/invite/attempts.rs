//! How often a source may try tokens that are wrong.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use tokio::time::Instant;

/// Wrong tokens that one source may show in [`SPAN`]. A secret has 256 bits: this is for logs, not against luck.
const WRONG_MAX: usize = 5;

/// See [`WRONG_MAX`].
const SPAN: Duration = Duration::from_mins(1);

/// Sources that are remembered. Whoever has more of them than this has what each of them has.
const SOURCES_MAX: usize = 1024;

/// The wrong tokens of the last minute, by source.
#[derive(Debug, Default)]
pub(super) struct Attempts(BTreeMap<IpAddr, Vec<Instant>>);

impl Attempts {
    /// Whether `source` may try another one.
    pub(super) fn may_try(&mut self, source: IpAddr, now: Instant) -> bool {
        self.0.retain(|_, wrong| {
            wrong.retain(|at| now - *at < SPAN);
            !wrong.is_empty()
        });
        self.0.get(&network(source)).is_none_or(|wrong| wrong.len() < WRONG_MAX)
    }

    /// Notes that `source` has shown a wrong one.
    pub(super) fn note(&mut self, source: IpAddr, now: Instant) {
        let source = network(source);
        if self.0.len() >= SOURCES_MAX && !self.0.contains_key(&source) {
            let oldest = self.0.iter().min_by_key(|(_, wrong)| wrong.last().copied());
            if let Some(oldest) = oldest.map(|(source, _)| *source) {
                self.0.remove(&oldest);
            }
        }
        self.0.entry(source).or_default().push(now);
    }
}

/// Whoever has one IPv6 address has 2^64 of them.
fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) >> 64 << 64).into(),
        four @ IpAddr::V4(_) => four,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_source_has_five_wrong_tokens_a_minute_and_others_have_their_own() {
        let mut attempts = Attempts::default();
        let (one, other): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let began = Instant::now();

        for nth in 0..5 {
            assert!(attempts.may_try(one, began), "{nth}");
            attempts.note(one, began);
        }

        assert!(!attempts.may_try(one, began + SPAN - Duration::from_millis(1)));
        assert!(attempts.may_try(other, began));
        assert!(attempts.may_try(one, began + SPAN));
    }

    #[tokio::test(start_paused = true)]
    async fn an_ipv6_source_is_its_network_and_a_mapped_address_is_what_it_maps() {
        let mut attempts = Attempts::default();
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let now = Instant::now();

        for nth in 0..5 {
            attempts.note(address(&format!("2001:db8::{nth}")), now);
            attempts.note(address("::ffff:10.0.0.1"), now);
        }

        assert!(!attempts.may_try(address("2001:db8::ffff:1"), now));
        assert!(attempts.may_try(address("2001:db8:0:1::1"), now));
        assert!(!attempts.may_try(address("10.0.0.1"), now));
    }

    #[tokio::test(start_paused = true)]
    async fn sources_are_bounded() {
        let mut attempts = Attempts::default();
        let now = Instant::now();

        for nth in 0..2000_u32 {
            attempts.note(IpAddr::from(nth.to_be_bytes()), now + Duration::from_millis(nth.into()));
        }

        assert_eq!(attempts.0.len(), SOURCES_MAX);
        assert!(attempts.0.contains_key(&IpAddr::from(1999_u32.to_be_bytes())));
    }
}
