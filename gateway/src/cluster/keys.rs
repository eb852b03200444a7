//! The keys of peer links: one Ed25519 key for each line of the secret file, shown as raw public keys (RFC 7250) in TLS 1.3, by both ends.
//!
//! Gets: the secrets and the cluster's name. Gives: TLS configurations, and for each line a name that says nothing about it.
//! Never: takes a certificate, an older TLS, or the key of a line that this node does not hold.

use std::fmt;
use std::sync::Arc;

use ftps_store::seal::Secrets;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, ServerConfig, SignatureScheme, version};
use zeroize::Zeroizing;

/// What a node shows, and takes, on peer links. The first line is the one that it would seal with.
pub(super) struct Keys {
    lines: Vec<Line>,
    server: Arc<ServerConfig>,
}

/// One line of the secret file, as peers see it.
#[derive(Clone)]
pub(super) struct Line {
    /// Names the line to peers: equal on all nodes that hold it, and no help to find it.
    pub(super) name: String,
    /// Asks for the line by its name.
    pub(super) server_name: ServerName<'static>,
    /// Shows the line's key and takes nothing else.
    pub(super) client: Arc<ClientConfig>,
    key: Arc<CertifiedKey>,
}

impl Keys {
    /// The keys of these secrets in this cluster.
    ///
    /// # Errors
    /// The library refuses a key; it has no reason to.
    pub(super) fn new(secrets: &Secrets, cluster: &str) -> Result<Self, Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let seeds = secrets.derive_all(&[b"peer key", &[0], cluster.as_bytes()]);
        let names = secrets.derive_all(&[b"peer name", &[0], cluster.as_bytes()]);
        let lines = seeds.iter().zip(&names).map(|(seed, name)| line(seed, &name[..16], &provider)).collect::<Result<Vec<_>, _>>()?;
        let server = Arc::new(server(&lines, &provider)?);
        Ok(Self { lines, server })
    }

    /// The lines, in the order of the file.
    pub(super) fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// For connections from peers.
    pub(super) fn server(&self) -> Arc<ServerConfig> {
        self.server.clone()
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.lines.len())
    }
}

fn line(seed: &[u8; 32], name: &[u8], provider: &Arc<CryptoProvider>) -> Result<Line, Error> {
    let key = raw_key(seed)?;
    let name: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
    let server_name = ServerName::try_from(format!("{name}.peer")).map_err(|_| Error::General("a name of hexadecimal digits is a name".to_owned()))?;
    let expected = Arc::new(Expected { keys: vec![public(&key)], algorithms: provider.signature_verification_algorithms });
    let mut client = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(expected)
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(key.clone())));
    client.alpn_protocols = vec![PROTOCOL.to_vec()];
    client.resumption = Resumption::disabled();
    Ok(Line { name, server_name, client: Arc::new(client), key })
}

fn server(lines: &[Line], provider: &Arc<CryptoProvider>) -> Result<ServerConfig, Error> {
    let expected = Expected { keys: lines.iter().map(|line| public(&line.key)).collect(), algorithms: provider.signature_verification_algorithms };
    let by_name = ByName(lines.iter().map(|line| (line.server_name.to_str().into_owned(), line.key.clone())).collect());
    let mut config = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&version::TLS13])?
        .with_client_cert_verifier(Arc::new(expected))
        .with_cert_resolver(Arc::new(by_name));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// An Ed25519 key from its seed, in the form that rustls reads (PKCS #8, RFC 8410 §7).
fn raw_key(seed: &[u8; 32]) -> Result<Arc<CertifiedKey>, Error> {
    let der = Zeroizing::new([&PKCS8_ED25519[..], seed].concat());
    let key = aws_lc_rs::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(der.as_slice()))?;
    let public = key.public_key().ok_or_else(|| Error::General("an Ed25519 key has a public half".to_owned()))?;
    Ok(Arc::new(CertifiedKey::new(vec![CertificateDer::from(public.as_ref().to_vec())], key)))
}

/// Its public half (SubjectPublicKeyInfo), which stands where a certificate would.
fn public(key: &CertifiedKey) -> Vec<u8> {
    key.cert.first().map(|public| public.to_vec()).unwrap_or_default()
}

/// The server's key for the line that a peer asks for; none is a refusal, and the peer tries its next line.
#[derive(Debug)]
struct ByName(Vec<(String, Arc<CertifiedKey>)>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let wanted = hello.server_name()?;
        self.0.iter().find(|(name, _)| name == wanted).map(|(_, key)| key.clone())
    }

    fn only_raw_public_keys(&self) -> bool {
        true
    }
}

/// Takes these keys and nothing else.
#[derive(Debug)]
struct Expected {
    keys: Vec<Vec<u8>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Expected {
    fn check(&self, shown: &CertificateDer<'_>) -> Result<(), Error> {
        let known = self.keys.iter().any(|key| key.as_slice() == shown.as_ref());
        if known { Ok(()) } else { Err(CertificateError::ApplicationVerificationFailure.into()) }
    }

    fn signature(&self, message: &[u8], shown: &CertificateDer<'_>, signed: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature_with_raw_key(message, &SubjectPublicKeyInfoDer::from(shown.as_ref()), signed, &self.algorithms)
    }

    fn no_tls12() -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }
}

impl ServerCertVerifier for Expected {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(shown).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(&self, _: &[u8], _: &CertificateDer<'_>, _: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, Error> {
        Self::no_tls12()
    }

    fn verify_tls13_signature(&self, message: &[u8], shown: &CertificateDer<'_>, signed: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, shown, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Expected {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(&self, shown: &CertificateDer<'_>, _: &[CertificateDer<'_>], _: UnixTime) -> Result<ClientCertVerified, Error> {
        self.check(shown).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(&self, _: &[u8], _: &CertificateDer<'_>, _: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, Error> {
        Self::no_tls12()
    }

    fn verify_tls13_signature(&self, message: &[u8], shown: &CertificateDer<'_>, signed: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, shown, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Keeps peer links apart from every other use of TLS (ALPACA).
const PROTOCOL: &[u8] = b"ftps-gateway-peer/1";
/// PrivateKeyInfo, version 0, id-Ed25519, then the seed as an octet string in an octet string.
const PKCS8_ED25519: [u8; 16] = [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use rustls::{ClientConnection, ServerConnection};

    use super::*;

    fn keys(lines: &[&[u8]], cluster: &str) -> Keys {
        Keys::new(&Secrets::new(lines).unwrap(), cluster).unwrap()
    }

    /// A handshake in memory, the client with its line `line`.
    fn handshake(client: &Keys, line: usize, server: &Keys) -> Result<(), Error> {
        let line = &client.lines()[line];
        let mut client = ClientConnection::new(line.client.clone(), line.server_name.clone()).unwrap();
        let mut server = ServerConnection::new(server.server()).unwrap();
        while client.is_handshaking() || server.is_handshaking() {
            let mut bytes = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut bytes).unwrap();
            }
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                server.read_tls(&mut rest).unwrap();
                server.process_new_packets()?;
            }
            let mut bytes = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut bytes).unwrap();
            }
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                client.read_tls(&mut rest).unwrap();
                client.process_new_packets()?;
            }
        }
        Ok(())
    }

    #[test]
    fn nodes_that_share_a_line_meet_under_it_and_under_no_other() {
        let (old, new) = ([1_u8; 32], [2_u8; 40]);
        let (both, only_old, only_new) = (keys(&[&new, &old], "a"), keys(&[&old], "a"), keys(&[&new], "a"));
        handshake(&both, 0, &only_new).unwrap();
        handshake(&both, 1, &only_old).unwrap();
        handshake(&only_old, 0, &both).unwrap();
        handshake(&both, 0, &only_old).unwrap_err();
        handshake(&only_old, 0, &only_new).unwrap_err();
        assert_eq!(both.lines()[1].name, only_old.lines()[0].name);
    }

    #[test]
    fn clusters_of_one_secret_and_two_names_do_not_meet() {
        let secret = [1_u8; 32];
        handshake(&keys(&[&secret], "a"), 0, &keys(&[&secret], "b")).unwrap_err();
    }

    #[test]
    fn a_stranger_who_knows_the_name_of_a_line_is_refused_both_ways() {
        let (right, wrong) = (keys(&[&[1; 32]], "a"), keys(&[&[9; 32]], "a"));
        let mut posing = wrong.lines()[0].clone();
        posing.server_name = right.lines()[0].server_name.clone();
        let liar = Keys { lines: vec![posing.clone()], server: Arc::new(server(&[posing], &Arc::new(aws_lc_rs::default_provider())).unwrap()) };
        assert!(handshake(&liar, 0, &right).is_err());
        assert!(handshake(&right, 0, &liar).is_err());
        // Nor without any key.
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut keyless = right.lines()[0].clone();
        let expected = Arc::new(Expected { keys: vec![public(&keyless.key)], algorithms: provider.signature_verification_algorithms });
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(expected)
            .with_no_client_auth();
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        keyless.client = Arc::new(config);
        let keyless = Keys { lines: vec![keyless], server: right.server() };
        assert!(handshake(&keyless, 0, &right).is_err());
    }

    #[test]
    fn nothing_of_a_secret_is_shown() {
        assert_eq!(format!("{:?}", keys(&[b"0123456789abcdef0123456789abcdef"], "a")), "Keys(1)");
    }
}
