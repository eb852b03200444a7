//! The ClientHello, read before TLS starts: what routes and resumes a connection.
//!
//! Gets: the first bytes of a TLS connection, in any pieces. Gives: what the hello offers, or why it is none.
//! Never: keeps more than [`MAX_HELLO`] bytes, answers, or believes what it reads: a routing hint is checked by the handshake.

/// What a ClientHello says that routing and resumption need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// The legacy session ID: 0 to 32 bytes.
    pub session_id: Vec<u8>,
    /// The TLS 1.2 ticket (extension 35): `None` when the extension is absent, empty when the client only asks for one.
    pub ticket: Option<Vec<u8>>,
    /// The TLS 1.3 PSK identities (extension 41), at most 4.
    pub psk: Vec<Vec<u8>>,
    /// Whether TLS 1.3 is offered (extension 43).
    pub tls13: bool,
    /// The server name (extension 0), lower case.
    pub server_name: Option<String>,
    /// SHA-256 input of the client's fingerprint: versions and sorted ciphers, groups, signature schemes and extension numbers,
    /// without GREASE and extensions 0, 16, 21, 35, 41, 42, 44.
    pub fingerprint: Vec<u8>,
}
