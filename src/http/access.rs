//! Who may change something.

use subtle::ConstantTimeEq;

use crate::model::Token;

/// The way by which a request came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Way {
    /// The data directory's socket, which its owner alone can open.
    Socket,
    /// The port, which anybody may reach.
    Tcp,
}

/// Why a change is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refused {
    /// The node has no token, so that no request over TCP can show it.
    NoToken,
    /// The request shows none, or another.
    WrongToken,
}

impl Refused {
    pub(super) const fn advice(self) -> &'static str {
        match self {
            Self::NoToken => {
                "changes are refused on this port, since the node has no APOLO_API_TOKEN: use the CLI beside the node (it speaks through <data-dir>/apolo.sock), or set APOLO_API_TOKEN_FILE for the node and for the CLI"
            }
            Self::WrongToken => {
                "changes on this port need `Authorization: Bearer …` with the node's APOLO_API_TOKEN"
            }
        }
    }
}

/// Whether a request that came by `way` and showed `authorization` may change something.
pub(super) fn check(
    way: Way,
    token: Option<&Token>,
    authorization: Option<&[u8]>,
) -> Result<(), Refused> {
    if way == Way::Socket {
        return Ok(());
    }
    let token = token.ok_or(Refused::NoToken)?;
    let shown = authorization.and_then(|header| header.strip_prefix(b"Bearer "));
    // In constant time, so that the time of the answer tells nothing of the token.
    match shown {
        Some(shown) if bool::from(shown.ct_eq(token.expose().as_bytes())) => Ok(()),
        _ => Err(Refused::WrongToken),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_needs_no_token_and_the_port_does() {
        let token = Token::parse("right").unwrap();
        let shown = |header: &'static str| check(Way::Tcp, Some(&token), Some(header.as_bytes()));

        assert_eq!(check(Way::Socket, None, None), Ok(()));
        assert_eq!(check(Way::Tcp, None, Some(b"Bearer right")), Err(Refused::NoToken));
        assert_eq!(check(Way::Tcp, Some(&token), None), Err(Refused::WrongToken));
        assert_eq!(shown("Bearer right"), Ok(()));
        for header in ["Bearer wrong", "Bearer righ", "Bearer right ", "Basic right", "right", ""] {
            assert_eq!(shown(header), Err(Refused::WrongToken), "{header:?}");
        }
    }
}
