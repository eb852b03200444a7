//! The one decision about a data connection: what was shown, what was offered, what policy says.

/// `data.tls_reuse`, or a user's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReusePolicy {
    /// Without proof only from the control connection's true address, by lease, and only while this session has never shown proof.
    #[default]
    Auto,
    /// Proof, always.
    Require,
    /// Without proof by lease, also when the address is hidden.
    Prefer,
    /// Without proof by lease.
    Off,
}

/// `data.upload_end`, or a user's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UploadEnd {
    /// A bare FIN is taken under the conditions of the design.
    #[default]
    Auto,
    /// close_notify, or nothing is kept.
    Strict,
}
