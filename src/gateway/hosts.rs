//! Where the token may go: the hosts that a gateway URL may name.

use std::collections::BTreeSet;

use thiserror::Error;
use url::{Host, Url};

/// The API whose gateway needs no exception.
pub const DISCORD_API: &str = "https://discord.com/api/v10";

/// Discord's domains. A gateway host is one of them or lies below one (`gateway-us-east1-b.discord.gg`).
const DISCORD_DOMAINS: [&str; 2] = ["discord.gg", "discord.com"];

/// Which gateway URLs are trusted with the token.
///
/// Discord's own hosts over TLS always are. Where `DISCORD_API` names another server, its host and the host that its
/// `/gateway/bot` returned are too, and `ws://` to these is allowed if `DISCORD_API` itself is `http://`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hosts {
    named: BTreeSet<Host<String>>,
    plain: bool,
}

/// Why a gateway URL is not used.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum RefusedUrl {
    /// It is no URL.
    #[error("not a URL")]
    Malformed,
    /// Not `wss://`, nor a `ws://` that is allowed.
    #[error("not wss://")]
    Scheme,
    /// It carries a user name or a password.
    #[error("carries user information")]
    UserInfo,
    /// Its host is neither Discord's nor the one that was configured.
    #[error("host is not Discord's")]
    Host,
}

impl Hosts {
    /// The hosts that go with the API at `api`.
    #[must_use]
    pub fn of_api(api: &Url) -> Self {
        let discord = api.host().is_some_and(|host| is_discord(&host.to_owned()));
        let named = api.host().filter(|_| !discord).map(|host| host.to_owned());
        Self { named: named.into_iter().collect(), plain: !discord && api.scheme() == "http" }
    }

    /// Discord's own hosts and no others.
    #[must_use]
    pub const fn discord() -> Self {
        Self { named: BTreeSet::new(), plain: false }
    }

    /// Adds the host of the URL that `/gateway/bot` returned, if `DISCORD_API` was overridden: whoever set it trusts
    /// that server with the token. Discord's own API may only name Discord's hosts.
    ///
    /// # Errors
    ///
    /// Where the URL would be refused whatever its host, or names a host that may not be added.
    pub fn with_gateway(mut self, url: &str) -> Result<Self, RefusedUrl> {
        if !self.named.is_empty() {
            let parsed = Url::parse(url).map_err(|_| RefusedUrl::Malformed)?;
            self.named.extend(parsed.host().map(|host| host.to_owned()));
        }
        self.admit(url).map(|_| self)
    }

    /// Checks a gateway URL, and returns the part that a version and an encoding can be appended to: no query, no
    /// fragment, no slash at the end.
    ///
    /// # Errors
    ///
    /// Where the token must not go there.
    pub fn admit(&self, url: &str) -> Result<String, RefusedUrl> {
        let mut url = Url::parse(url).map_err(|_| RefusedUrl::Malformed)?;
        let host = url.host().ok_or(RefusedUrl::Malformed)?.to_owned();
        match url.scheme() {
            "wss" => {}
            "ws" if self.plain && self.named.contains(&host) => {}
            _ => return Err(RefusedUrl::Scheme),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(RefusedUrl::UserInfo);
        }
        if !is_discord(&host) && !self.named.contains(&host) {
            return Err(RefusedUrl::Host);
        }
        url.set_query(None);
        url.set_fragment(None);
        Ok(url.as_str().trim_end_matches('/').to_owned())
    }
}

fn is_discord(host: &Host<String>) -> bool {
    let Host::Domain(name) = host else { return false };
    DISCORD_DOMAINS.iter().any(|domain| {
        name.strip_suffix(domain).is_some_and(|above| above.is_empty() || above.ends_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overridden() -> Hosts {
        Hosts::of_api(&Url::parse("http://127.0.0.1:9900/api/v10").unwrap())
    }

    #[test]
    fn discords_hosts_are_admitted_without_query_and_slash() {
        let hosts = Hosts::of_api(&Url::parse(DISCORD_API).unwrap());

        let admitted = hosts.admit("wss://gateway-us-east1-b.discord.gg/?v=9#x");

        assert_eq!(admitted.as_deref(), Ok("wss://gateway-us-east1-b.discord.gg"));
        assert_eq!(hosts, Hosts::discord());
    }

    #[test]
    fn the_token_goes_to_no_other_host() {
        let cases = [
            ("ws://gateway.discord.gg", RefusedUrl::Scheme),
            ("https://gateway.discord.gg", RefusedUrl::Scheme),
            ("wss://evil.example", RefusedUrl::Host),
            ("wss://evildiscord.gg", RefusedUrl::Host),
            ("wss://discord.gg.evil.example", RefusedUrl::Host),
            ("wss://gateway.discord.gg@evil.example", RefusedUrl::UserInfo),
            ("wss://user:word@gateway.discord.gg", RefusedUrl::UserInfo),
            ("wss://evil.example/gateway.discord.gg", RefusedUrl::Host),
            ("wss://evil.example\\.discord.gg", RefusedUrl::Host),
            ("wss://127.0.0.1", RefusedUrl::Host),
            ("wss://[::1]", RefusedUrl::Host),
            ("wss://2130706433", RefusedUrl::Host),
            ("gateway.discord.gg", RefusedUrl::Malformed),
            ("", RefusedUrl::Malformed),
        ];

        for (url, reason) in cases {
            assert_eq!(Hosts::discord().admit(url), Err(reason), "{url}");
        }
    }

    #[test]
    fn an_overridden_api_adds_its_host_and_plain_text() {
        let hosts = overridden();

        assert_eq!(
            hosts.admit("ws://127.0.0.1:9900/resume/").as_deref(),
            Ok("ws://127.0.0.1:9900/resume")
        );
        assert_eq!(hosts.admit("wss://10.0.0.1:9900"), Err(RefusedUrl::Host));
        assert_eq!(hosts.admit("ws://gateway.discord.gg"), Err(RefusedUrl::Scheme));
    }

    #[test]
    fn plain_text_needs_a_plain_api() {
        let hosts = Hosts::of_api(&Url::parse("https://proxy.internal/api").unwrap());

        assert_eq!(hosts.admit("ws://proxy.internal"), Err(RefusedUrl::Scheme));
        assert!(hosts.admit("wss://proxy.internal").is_ok());
    }

    #[test]
    fn a_gateway_elsewhere_is_added_only_under_an_overridden_api() {
        let elsewhere = "ws://gateway.internal:80";

        assert!(overridden().with_gateway(elsewhere).unwrap().admit(elsewhere).is_ok());
        assert_eq!(Hosts::discord().with_gateway("wss://evil.example"), Err(RefusedUrl::Host));
    }
}
