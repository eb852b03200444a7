//! The one way from wire bytes to a path: [`VirtualPath`].
//!
//! Gets: the argument of a command, the working directory. Gives: an absolute path below the user's home, or why not.
//! Never: decodes percent signs or Unicode, touches a file; `..` is resolved here, lexically, and stops at the virtual root.

/// A path as the client wrote it: not empty, at most 4,096 bytes, no control bytes (RFC 2640's CR NUL decoded before).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WirePath(Vec<u8>);

/// An absolute path below the user's home: components of 1 to 255 bytes without `/`, NUL or control bytes, never `.` or `..`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VirtualPath(Vec<u8>);

/// Why bytes are no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadPath {
    /// No bytes.
    Empty,
    /// A byte below 0x20, or 0x7F.
    Control,
    /// The whole is longer than [`MAX_PATH`].
    TooLong,
    /// A component is longer than [`MAX_COMPONENT`], or not one component (`join`).
    Component,
}

impl WirePath {
    /// Checks the bytes of an argument.
    pub fn new(bytes: &[u8]) -> Result<Self, BadPath> {
        if bytes.is_empty() {
            return Err(BadPath::Empty);
        }
        if bytes.len() > MAX_PATH {
            return Err(BadPath::TooLong);
        }
        if bytes.iter().any(u8::is_ascii_control) {
            return Err(BadPath::Control);
        }
        Ok(Self(bytes.to_vec()))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Directory and pattern, when the last component has `*` or `?`. The directory part is literal: no pattern acts there.
    pub fn split_glob(&self) -> Option<(Self, Vec<u8>)> {
        let cut = self.0.iter().rposition(|&b| b == b'/').map_or(0, |slash| slash + 1);
        let (directory, pattern) = self.0.split_at(cut);
        if !crate::glob::is_pattern(pattern) {
            return None;
        }
        let directory = if directory.is_empty() { b"." } else { directory };
        Some((Self(directory.to_vec()), pattern.to_vec()))
    }
}

impl VirtualPath {
    /// `/`.
    pub fn root() -> Self {
        Self(b"/".to_vec())
    }

    /// Where `wire` leads from here, this being the working directory; a leading slash starts at the root.
    pub fn resolve(&self, wire: &WirePath) -> Result<Self, BadPath> {
        let mut path = if wire.0.first() == Some(&b'/') { Vec::new() } else { self.stem().to_vec() };
        for component in wire.0.split(|&b| b == b'/') {
            match component {
                b"" | b"." => {}
                b".." => path.truncate(path.iter().rposition(|&b| b == b'/').unwrap_or(0)),
                name => push(&mut path, name)?,
            }
        }
        Ok(Self::from_stem(path))
    }

    /// One level down. `component` must be one: not empty, `.` or `..`, no slash, no control bytes, at most 255 bytes.
    pub fn join(&self, component: &[u8]) -> Result<Self, BadPath> {
        if component.iter().any(u8::is_ascii_control) {
            return Err(BadPath::Control);
        }
        if matches!(component, b"" | b"." | b"..") || component.contains(&b'/') {
            return Err(BadPath::Component);
        }
        let mut path = self.stem().to_vec();
        push(&mut path, component)?;
        Ok(Self(path))
    }

    /// One level up; the root is its own parent.
    pub fn parent(&self) -> Self {
        let cut = self.0.iter().rposition(|&b| b == b'/').unwrap_or(0);
        Self::from_stem(self.0[..cut].to_vec())
    }

    /// The last component; `None` for the root.
    pub fn name(&self) -> Option<&[u8]> {
        let name = self.0.rsplit(|&b| b == b'/').next()?;
        (!name.is_empty()).then_some(name)
    }

    /// The components from the root on; none for the root.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|&b| b == b'/').filter(|component| !component.is_empty())
    }

    /// Whether this is `other` or below it, by whole components.
    pub fn starts_with(&self, other: &Self) -> bool {
        self.0.strip_prefix(other.stem()).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
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

    /// Appends it in double quotes, a quote within doubled (RFC 959 appendix II): the only way client bytes get into a reply.
    pub fn write_quoted(&self, out: &mut Vec<u8>) {
        out.push(b'"');
        for &byte in &self.0 {
            if byte == b'"' {
                out.push(b'"');
            }
            out.push(byte);
        }
        out.push(b'"');
    }

    /// Without the slash that is the whole root: what a component is appended to.
    fn stem(&self) -> &[u8] {
        if self.is_root() { b"" } else { &self.0 }
    }

    fn from_stem(path: Vec<u8>) -> Self {
        if path.is_empty() { Self::root() } else { Self(path) }
    }
}

/// Appends `/component`, within the limits.
fn push(path: &mut Vec<u8>, component: &[u8]) -> Result<(), BadPath> {
    if component.len() > MAX_COMPONENT {
        return Err(BadPath::Component);
    }
    if path.len() + 1 + component.len() > MAX_PATH {
        return Err(BadPath::TooLong);
    }
    path.push(b'/');
    path.extend_from_slice(component);
    Ok(())
}

/// Longest path in bytes, on the wire and resolved.
pub const MAX_PATH: usize = 4096;
/// Longest component in bytes: NAME_MAX of Linux.
pub const MAX_COMPONENT: usize = 255;
