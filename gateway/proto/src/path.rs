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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    type Expected = Result<&'static [u8], BadPath>;

    fn at(directory: &str) -> VirtualPath {
        VirtualPath::root().resolve(&WirePath::new(directory.as_bytes()).unwrap()).unwrap()
    }

    fn resolve(cwd: &str, bytes: &[u8]) -> Result<Vec<u8>, BadPath> {
        at(cwd).resolve(&WirePath::new(bytes)?).map(|path| path.as_bytes().to_vec())
    }

    /// Each spelling from `/home/alice`, and where it leads: above the root there is nothing, and what is not `..` is a name.
    #[rustfmt::skip]
    const TRAVERSALS: [(&[u8], Expected); 43] = [
        (b"..", Ok(b"/home")), (b"../", Ok(b"/home")), (b"../..", Ok(b"/")), (b"../../..", Ok(b"/")), (b"../../../../../../../../etc/passwd", Ok(b"/etc/passwd")),
        (b"/..", Ok(b"/")), (b"/../", Ok(b"/")), (b"/../etc/passwd", Ok(b"/etc/passwd")), (b"/../../etc/passwd", Ok(b"/etc/passwd")), (b"//etc/passwd", Ok(b"/etc/passwd")),
        (b"///..//..//etc", Ok(b"/etc")), (b"/./../etc", Ok(b"/etc")), (b"./..", Ok(b"/home")), (b"./../../..", Ok(b"/")), (b"a/..", Ok(b"/home/alice")),
        (b"a/../..", Ok(b"/home")), (b"a/b/../../../..", Ok(b"/")), (b"a/./b/.././../..", Ok(b"/home")), (b".//..//", Ok(b"/home")), (b"..//..", Ok(b"/")),
        (b"/home/../../..", Ok(b"/")), (b"/etc/..", Ok(b"/")), (b"../alice/../../x", Ok(b"/x")), (b".", Ok(b"/home/alice")), (b"/", Ok(b"/")), (b"////", Ok(b"/")),
        (b"...", Ok(b"/home/alice/...")), (b"....", Ok(b"/home/alice/....")), (b"....//", Ok(b"/home/alice/....")), (b"..a", Ok(b"/home/alice/..a")), (b"a..", Ok(b"/home/alice/a..")),
        (b".. ", Ok(b"/home/alice/.. ")), (b" ..", Ok(b"/home/alice/ ..")), (b"..\\..\\etc", Ok(b"/home/alice/..\\..\\etc")), (b"..%2f..%2fetc", Ok(b"/home/alice/..%2f..%2fetc")),
        (b"%2e%2e/%2e%2e", Ok(b"/home/alice/%2e%2e/%2e%2e")), (b"%252e%252e", Ok(b"/home/alice/%252e%252e")), (b"..\xc0\xaf..", Ok(b"/home/alice/..\xc0\xaf..")),
        (b"\xc0\xae\xc0\xae/", Ok(b"/home/alice/\xc0\xae\xc0\xae")), (b"\xef\xbc\x8e\xef\xbc\x8e", Ok(b"/home/alice/\xef\xbc\x8e\xef\xbc\x8e")), (b"~/..", Ok(b"/home/alice")),
        (b"..\0", Err(BadPath::Control)), (b"..\r/..", Err(BadPath::Control)),
    ];

    #[test]
    fn no_spelling_leads_above_the_root() {
        for (bytes, expected) in TRAVERSALS {
            let found = resolve("/home/alice", bytes);
            assert_eq!(found, expected.map(<[u8]>::to_vec), "{:?}", String::from_utf8_lossy(bytes));
            if let Ok(path) = found {
                assert_well_formed(&path);
            }
        }
    }

    fn assert_well_formed(path: &[u8]) {
        assert!(path.starts_with(b"/") && path.len() <= MAX_PATH);
        assert!(path == b"/" || path[1..].split(|&b| b == b'/').all(|c| !matches!(c, b"" | b"." | b"..") && c.len() <= MAX_COMPONENT));
    }

    #[test]
    fn resolving_again_changes_nothing() {
        for (bytes, expected) in TRAVERSALS {
            if let Ok(path) = expected {
                assert_eq!(resolve("/elsewhere", path), Ok(path.to_vec()), "{bytes:?}");
            }
        }
    }

    #[test]
    fn limits_are_exact() {
        let name = |length| vec![b'a'; length];
        assert!(resolve("/", &name(255)).is_ok());
        assert_eq!(resolve("/", &name(256)), Err(BadPath::Component));
        let deep = |length: usize| b"/".iter().chain(b"abc/".iter().cycle().take(length - 1)).copied().collect::<Vec<_>>();
        assert_eq!(resolve("/", &deep(4096)).map(|path| path.len()), Ok(4096));
        assert_eq!(resolve("/", &deep(4097)), Err(BadPath::TooLong));
        let long = String::from_utf8(deep(4096)).unwrap();
        assert_eq!(resolve(&long, b"x"), Err(BadPath::TooLong));
        assert_eq!(resolve(&long, b"../x").map(|path| path.len()), Ok(4094));
        assert_eq!(resolve("/", b""), Err(BadPath::Empty));
        for byte in (0..=255_u8).filter(|b| *b != b'/' && *b != b'.') {
            let control = byte < 0x20 || byte == 0x7f;
            assert_eq!(resolve("/", &[byte]), if control { Err(BadPath::Control) } else { Ok(vec![b'/', byte]) });
        }
    }

    #[test]
    fn goes_up_and_down() {
        assert_eq!(at("/a/b").parent(), at("/a"));
        assert_eq!(at("/a").parent(), VirtualPath::root());
        assert_eq!(VirtualPath::root().parent(), VirtualPath::root());
        assert_eq!((at("/a/b").name(), VirtualPath::root().name()), (Some(&b"b"[..]), None));
        assert_eq!(at("/a").join(b" b ").unwrap().as_bytes(), b"/a/ b ");
        assert_eq!(VirtualPath::root().join(b"b").unwrap().as_bytes(), b"/b");
        for bad in [&b""[..], b".", b"..", b"a/b", b"/", &[b'a'; 256]] {
            assert_eq!(at("/a").join(bad), Err(BadPath::Component));
        }
        assert_eq!(at("/a").join(b"\n"), Err(BadPath::Control));
        assert_eq!(at("/a/b").components().collect::<Vec<_>>(), [b"a", b"b"]);
        assert_eq!(VirtualPath::root().components().count(), 0);
        assert_eq!((at("/a/b").relative(), VirtualPath::root().relative()), (&b"a/b"[..], &b"."[..]));
    }

    #[test]
    fn is_below_by_whole_components() {
        for (path, other, expected) in
            [("/a/b", "/a", true), ("/a", "/a", true), ("/ab", "/a", false), ("/a", "/a/b", false), ("/a", "/", true), ("/", "/", true), ("/", "/a", false)]
        {
            assert_eq!(at(path).starts_with(&at(other)), expected, "{path} {other}");
        }
    }

    #[test]
    fn quotes_are_doubled_and_read_back() {
        for (path, quoted) in [("/", "\"/\""), ("/a\"b", "\"/a\"\"b\""), ("/\"", "\"/\"\"\"")] {
            let mut out = Vec::new();
            at(path).write_quoted(&mut out);
            assert_eq!(out, quoted.as_bytes());
            assert_eq!(String::from_utf8(out[1..out.len() - 1].to_vec()).unwrap().replace("\"\"", "\""), path);
        }
    }

    #[test]
    fn a_pattern_acts_in_the_last_component_only() {
        for (path, expected) in [
            ("*.txt", Some((".", "*.txt"))),
            ("a/b?", Some(("a/", "b?"))),
            ("/*", Some(("/", "*"))),
            ("a*/b*", Some(("a*/", "b*"))),
            ("a*/b", None),
            ("a*/", None),
            ("[ab]", None),
        ] {
            let found = WirePath::new(path.as_bytes()).unwrap().split_glob();
            assert_eq!(found, expected.map(|(d, p)| (WirePath::new(d.as_bytes()).unwrap(), p.as_bytes().to_vec())), "{path}");
        }
    }
}
