//! What the running program is: `build_info`.
//!
//! Gets: what was said when it was compiled. Gives: version, revision, compiler. Never: asks anybody while it runs.

/// What `build_info` says.
#[derive(Clone, Copy, Debug)]
pub struct Build<'a> {
    /// The version of the program.
    pub version: &'a str,
    /// The revision it was built from, or `unknown`.
    pub revision: &'a str,
    /// The compiler it was built with, or `unknown`.
    pub rustc: &'a str,
}

impl Default for Build<'static> {
    /// What was said when this crate was compiled: `FTPS_GATEWAY_REVISION` and `FTPS_GATEWAY_RUSTC` in its environment.
    fn default() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            revision: option_env!("FTPS_GATEWAY_REVISION").unwrap_or("unknown"),
            rustc: option_env!("FTPS_GATEWAY_RUSTC").unwrap_or("unknown"),
        }
    }
}
