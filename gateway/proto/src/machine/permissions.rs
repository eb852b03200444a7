//! What an account may do.
//!
//! Gets: bits of the users file. Gives: one flag for each permission, which the machine asks before any job.
//! Never: knows a path or a user.

/// What a user may do; bits of `permissions` in the users file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// LIST, NLST, MLSD, MLST, STAT path, CWD.
    pub list: bool,
    /// RETR, SIZE, MDTM.
    pub read: bool,
    /// STOR, STOU, ALLO.
    pub write: bool,
    /// APPE, STOR after REST.
    pub append: bool,
    /// DELE; also STOR over an existing file needs no more than `write`.
    pub delete: bool,
    /// RNFR, RNTO.
    pub rename: bool,
    /// MKD.
    pub mkdir: bool,
    /// RMD.
    pub rmdir: bool,
    /// MFMT, MFF, SITE CHMOD, SITE UTIME.
    pub attributes: bool,
    /// HASH, XCRC and the like.
    pub digest: bool,
}

impl Permissions {
    /// All of them.
    pub const ALL: Self =
        Self { list: true, read: true, write: true, append: true, delete: true, rename: true, mkdir: true, rmdir: true, attributes: true, digest: true };
    /// `read-only`: list, read, digest.
    pub const READ_ONLY: Self =
        Self { list: true, read: true, write: false, append: false, delete: false, rename: false, mkdir: false, rmdir: false, attributes: false, digest: true };

    /// Whether everything that `others` allow is allowed here too.
    pub fn include(self, others: Self) -> bool {
        let flags = |p: Self| [p.list, p.read, p.write, p.append, p.delete, p.rename, p.mkdir, p.rmdir, p.attributes, p.digest];
        flags(self).into_iter().zip(flags(others)).all(|(mine, theirs)| mine || !theirs)
    }
}
