//! rustls, set up for both sides of a connection.

use std::sync::Arc;

use rustls::{
    ClientConfig, ServerConfig, client::Resumption, server::NoServerSessionStorage, version::TLS13,
};

use crate::{
    model::{ClusterId, NodeId},
    transport::counters::Counters,
};

use super::{
    AuthorityError, Credentials, Identity,
    credentials::{Resolver, provider},
    verify::Verifier,
};

/// The protocol's name in the handshake. A change that old nodes can't understand changes it.
const ALPN: &[u8] = b"apolo/1";

/// The name that is dialled where it is not known yet who answers.
pub(in crate::transport) const MEET: &str = "meet.apolo";

/// The name to dial for a member.
pub(in crate::transport) fn name_of(cluster: ClusterId, node: NodeId) -> String {
    Identity::server(cluster, node).dns_name()
}

/// The accepting side. A handshake is never resumed: a resumed one would skip the checks, and a full one takes 1.5 ms.
pub(in crate::transport) fn server(
    credentials: &Arc<Credentials>,
    counters: &Arc<Counters>,
) -> Result<ServerConfig, AuthorityError> {
    let verifier =
        Arc::new(Verifier { credentials: credentials.clone(), counters: counters.clone() });
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(Resolver(credentials.clone())));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    // 0-RTT data could be replayed.
    config.max_early_data_size = 0;
    Ok(config)
}

/// The dialling side.
pub(in crate::transport) fn client(
    credentials: &Arc<Credentials>,
    counters: &Arc<Counters>,
) -> Result<ClientConfig, AuthorityError> {
    let verifier =
        Arc::new(Verifier { credentials: credentials.clone(), counters: counters.clone() });
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::new(Resolver(credentials.clone())));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(config)
}
