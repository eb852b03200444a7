//! Certificates of clients that were good when their session began and are not any more.
//! A resumption brings the old chain, unseen by rustls: we look at it.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::PrivateKeyDer;
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::kit::*;
use crate::observe::event::HandshakeFailure;
use crate::tls::*;

/// An authority's file, and a client with a certificate of it that ends a minute from now.
fn place(mode: Mode) -> (Directory, ClientAuth, Client) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let directory = Directory::new();
    let file = directory.0.join("ca.pem");
    std::fs::write(&file, ca.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = rcgen::Issuer::new(ca, key);
    let leaf_key = rcgen::KeyPair::generate().unwrap();
    let mut leaf = rcgen::CertificateParams::new(Vec::new()).unwrap();
    leaf.distinguished_name.push(rcgen::DnType::CommonName, "alice");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    leaf.not_after = rcgen::date_time_ymd(1970, 1, 1) + (now + Duration::from_secs(60));
    let chain = vec![leaf.signed_by(&leaf_key, &issuer).unwrap().der().clone()];
    let certified = CertifiedKey::from_der(chain, PrivateKeyDer::Pkcs8(leaf_key.serialize_der().into()), &crypto_provider()).unwrap();
    let client = Client { certified: Some(Arc::new(SingleCertAndKey::from(certified))), ..Client::new(mode) };
    (directory, ClientAuth { mode: ClientAuthMode::Optional, ca: Some(file), crl: None }, client)
}

#[tokio::test]
async fn a_certificate_that_has_expired_is_not_good_by_resumption() {
    for mode in MODES {
        let cluster = Cluster::new();
        let (_directory, client_auth, client) = place(mode);
        let node = cluster.node_with(&Config { client_auth, ..config() }, "off");
        let first = connect(&node, &client).await;
        assert_eq!(first.certificate.as_ref().unwrap().common_name.as_deref(), Some("alice"), "{mode:?}");
        let second = connect(&node, &client).await;
        assert_ne!(second.facts.resumed, Resumed::Full, "{mode:?}");
        assert_eq!(second.certificate, first.certificate, "{mode:?}: the certificate of the first handshake");
        assert_eq!(node.revoked(), [], "{mode:?}");
        let (ours, theirs) = data_connections(node.for_data(&second.keys, &[]), &client).unwrap();
        assert_eq!((ours.handshake_kind(), node.check_data(&second.keys, &ours)), (theirs.handshake_kind(), Ok(())), "{mode:?}");

        cluster.pass(Duration::from_secs(120));
        assert!(node.check_data(&second.keys, &ours).is_err(), "{mode:?}: on data");
        let refused = try_connect(&node, &client).await.map(drop).unwrap_err();
        assert_eq!(refused.failure, HandshakeFailure::ClientCertificate, "{mode:?}: {refused}");
        assert!(node.0.distrusted.has(first.facts.family), "{mode:?}");
        // The next handshake is a full one, in which the client may show another certificate, or none.
        let renewed = Client { certified: None, ..client.clone() };
        let full = connect(&node, &renewed).await;
        assert_eq!((full.facts.resumed, full.certificate), (Resumed::Full, None), "{mode:?}");
    }
}

#[tokio::test]
async fn a_certificate_is_looked_at_again_on_another_node() {
    for mode in MODES {
        let cluster = Cluster::new();
        let (_directory, client_auth, client) = place(mode);
        let config = Config { client_auth, ..config() };
        let (node, other) = (cluster.node_with(&config, "off"), cluster.node_with(&config, "off"));
        let first = connect(&node, &client).await;
        let second = connect(&other, &client).await;
        assert_ne!(second.facts.resumed, Resumed::Full, "{mode:?}");
        assert_eq!(second.certificate, first.certificate, "{mode:?}");
        cluster.pass(Duration::from_secs(120));
        let refused = try_connect(&other, &client).await.map(drop).unwrap_err();
        assert_eq!(refused.failure, HandshakeFailure::ClientCertificate, "{mode:?}: {refused}");
    }
}

/// A directory of its own, removed afterwards.
struct Directory(std::path::PathBuf);

impl Directory {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("ftps-gateway-clients-{}", SessionId::now()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
