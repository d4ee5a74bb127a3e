//! `apolo version`.

use std::env::consts::{ARCH, OS};

use serde::Serialize;

use super::{
    Failure,
    output::{say, say_json},
};

#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    version: &'static str,
    platform: String,
    debug: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let version = Version {
        version: env!("CARGO_PKG_VERSION"),
        platform: format!("{ARCH}-{OS}"),
        debug: cfg!(debug_assertions),
    };
    if arguments.json {
        return say_json(&version);
    }
    let profile = if version.debug { ", not optimised" } else { "" };
    say(format_args!("apolo {} ({}{profile})", version.version, version.platform))
}
