//! What the system says, in the words of the protocol.
//!
//! Gets: errors of system calls. Gives: a [`FileError`], and an event for those that are not the client's doing.
//! Never: tells the client more than the kind, or counts a missing file as a fault.

use std::io;
use std::time::Instant;

use ftps_proto::machine::io::FileError;
use rustix::io::Errno;

use crate::observe::{Event, Observer, Subject};

/// The kind that stands for an error of the system. Resolution has turned EXDEV into EACCES before (a path that leaves the home), so EXDEV is a rename here.
pub fn error_kind(error: &io::Error) -> FileError {
    let Some(errno) = Errno::from_io_error(error) else { return FileError::Io };
    match errno {
        Errno::NOENT => FileError::NotFound,
        Errno::ACCESS | Errno::PERM => FileError::Denied,
        Errno::EXIST => FileError::Exists,
        Errno::NOTDIR => FileError::NotADirectory,
        Errno::ISDIR => FileError::IsADirectory,
        Errno::NOTEMPTY => FileError::NotEmpty,
        // What open says for a socket, a pipe without a reader, a device without a driver.
        Errno::NXIO | Errno::NODEV => FileError::NotRegular,
        // SMB, vfat and casefolded ext4 refuse names with EINVAL or EILSEQ; so does a rename into itself.
        Errno::NAMETOOLONG | Errno::INVAL | Errno::ILSEQ => FileError::BadName,
        Errno::NOSPC => FileError::NoSpace,
        Errno::DQUOT | Errno::FBIG => FileError::Quota,
        Errno::XDEV => FileError::CrossDevice,
        Errno::LOOP | Errno::MLINK => FileError::Loop,
        Errno::BUSY | Errno::TXTBSY | Errno::AGAIN => FileError::Busy,
        Errno::ROFS => FileError::ReadOnly,
        // EIO, ESTALE after its retries, ETIMEDOUT of a soft NFS mount, EMFILE, ENOMEM, ENOSYS and what else there is.
        _ => FileError::Io,
    }
}

/// Why an operation failed, before it is told: by the system or by a check of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The system's answer.
    System(Errno),
    /// Our own verdict.
    Kind(FileError),
}

impl Fault {
    /// The kind for the client. Says it to the observer when it is the file system's doing and not the client's.
    pub(super) fn tell(self, operation: &'static str, observer: &Observer) -> FileError {
        let errno = match self {
            Fault::Kind(kind) => return kind,
            Fault::System(errno) => errno,
        };
        let error = io::Error::from(errno);
        let kind = error_kind(&error);
        if matches!(kind, FileError::Io | FileError::NoSpace | FileError::ReadOnly) {
            observer.event(Subject::default(), &Event::StorageFailed { operation, kind, error: &error });
        }
        kind
    }
}

/// Does `work`, which is one call into the file system or a few, and says how long it took.
pub(super) fn timed<T>(operation: &'static str, observer: &Observer, work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let done = work();
    say_time(operation, observer, began);
    done
}

/// Says how long something took that began then.
pub(super) fn say_time(operation: &'static str, observer: &Observer, began: Instant) {
    observer.event(Subject::default(), &Event::StorageDone { operation, took: began.elapsed() });
}

impl From<Errno> for Fault {
    fn from(errno: Errno) -> Self {
        Fault::System(errno)
    }
}

impl From<FileError> for Fault {
    fn from(kind: FileError) -> Self {
        Fault::Kind(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::super::scratch;
    use super::*;

    #[test]
    fn kinds_follow_the_system() {
        let table = [
            (Errno::NOENT, FileError::NotFound),
            (Errno::PERM, FileError::Denied),
            (Errno::NOSPC, FileError::NoSpace),
            (Errno::DQUOT, FileError::Quota),
            (Errno::ROFS, FileError::ReadOnly),
            (Errno::LOOP, FileError::Loop),
            (Errno::NAMETOOLONG, FileError::BadName),
            (Errno::XDEV, FileError::CrossDevice),
            (Errno::TXTBSY, FileError::Busy),
            (Errno::STALE, FileError::Io),
            (Errno::IO, FileError::Io),
        ];
        for (errno, kind) in table {
            assert_eq!(error_kind(&errno.into()), kind, "{errno:?}");
        }
        assert_eq!(error_kind(&io::Error::other("no errno")), FileError::Io);
    }

    #[test]
    fn only_faults_of_the_file_system_are_said() {
        let (observer, said) = scratch::observer();
        assert_eq!(Fault::from(Errno::NOENT).tell("open", &observer), FileError::NotFound);
        assert_eq!(Fault::from(FileError::Busy).tell("open", &observer), FileError::Busy);
        assert!(said.take().is_empty());
        assert_eq!(Fault::from(Errno::IO).tell("read", &observer), FileError::Io);
        assert_eq!(said.take(), ["failed read Io"]);
    }
}
