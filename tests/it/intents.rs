//! The table of intents against another one that is kept for Discord's page.

use apolo::config::{INTENTS, Intents};
use twilight_model::gateway::Intents as Twilight;

#[test]
fn every_intent_has_twilights_name_and_bit() {
    for intent in INTENTS {
        let twilight = Twilight::from_name(intent.name);

        assert_eq!(twilight.map(|flags| flags.bits()), Some(1 << intent.bit), "{}", intent.name);
    }
}

#[test]
fn no_intent_is_missing() {
    assert_eq!(Intents::ALL.bits(), Twilight::all().bits());
}
