//! The one way from wire bytes to a path: [`VirtualPath`].

/// A path as the client wrote it: not empty, at most 4,096 bytes, no control bytes (RFC 2640's CR NUL decoded before).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WirePath(Vec<u8>);

/// An absolute path below the user's home: components of 1 to 255 bytes without `/`, NUL or control bytes, never `.` or `..`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VirtualPath(Vec<u8>);

impl WirePath {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl VirtualPath {
    /// `/`.
    pub fn root() -> Self {
        Self(b"/".to_vec())
    }

    /// With a leading slash and no trailing one; `/` for the root.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Without the leading slash, `.` for the root: what openat2 gets.
    pub fn relative(&self) -> &[u8] {
        if self.is_root() { b"." } else { &self.0[1..] }
    }

    /// Whether it is `/`.
    pub fn is_root(&self) -> bool {
        self.0.len() == 1
    }
}
