//! What a digest is of: the state of a file, a range of its bytes, an algorithm.
//!
//! Gets: an identity that storage saw. Gives: one key, in memory and as bytes for the store.
//! Never: holds a device number or a node's name: every node makes the same key of the same file.

use ftps_proto::digest::{Algorithm, Range};

use crate::storage::Identity;

/// What a digest is of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) identity: Identity,
    pub(super) range: Range,
    pub(super) algorithm: Algorithm,
}

impl Key {
    /// All bytes of a file.
    pub(super) fn whole(identity: &Identity, algorithm: Algorithm) -> Self {
        Self { range: Range { start: 0, end: identity.size }, identity: identity.clone(), algorithm }
    }

    /// As bytes, for the store; every part has its length or a fixed one, so no two keys give the same.
    pub(super) fn to_bytes(&self, storage: &str) -> Vec<u8> {
        let Identity { path, inode, size, modified, changed } = &self.identity;
        let mut bytes = Vec::with_capacity(128 + path.as_bytes().len());
        for text in [storage.as_bytes(), path.as_bytes(), self.algorithm.word().as_bytes()] {
            bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
            bytes.extend_from_slice(text);
        }
        for number in [*inode, *size, self.range.start, self.range.end] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        for (seconds, nanos) in [modified, changed] {
            bytes.extend_from_slice(&seconds.to_be_bytes());
            bytes.extend_from_slice(&nanos.to_be_bytes());
        }
        bytes
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::collections::HashSet;

    use ftps_proto::path::{VirtualPath, WirePath};

    use super::*;

    pub(in crate::digest) fn key(name: &str) -> Key {
        let path = VirtualPath::root().resolve(&WirePath::new(name.as_bytes()).unwrap()).unwrap();
        Key::whole(&Identity { path, inode: 7, size: 9, modified: (1, 2), changed: (3, 4) }, Algorithm::Sha256)
    }

    #[test]
    fn whatever_differs_gives_another_key() {
        let base = key("/a");
        let with = |change: &dyn Fn(&mut Key)| {
            let mut other = base.clone();
            change(&mut other);
            other.to_bytes("storage")
        };
        let mut all = vec![base.to_bytes("storage"), base.to_bytes("storage2"), key("/b").to_bytes("storage")];
        all.push(with(&|key| key.identity.inode = 8));
        all.push(with(&|key| key.identity.size = 8));
        all.push(with(&|key| key.identity.modified.0 = 8));
        all.push(with(&|key| key.identity.modified.1 = 8));
        all.push(with(&|key| key.identity.changed.0 = 8));
        all.push(with(&|key| key.identity.changed.1 = 8));
        all.push(with(&|key| key.range.start = 8));
        all.push(with(&|key| key.range.end = 8));
        all.push(with(&|key| key.algorithm = Algorithm::Md5));
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
        assert_eq!(base.to_bytes("storage"), key("/a").to_bytes("storage"));
    }
}
