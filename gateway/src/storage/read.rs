//! Reading a file for a download.
//!
//! Gets: a regular file of a [`Tree`] and an offset. Gives: exactly the bytes from there to the size it had when it was opened.
//! Never: waits for a disk on an async worker: bytes in the page cache (RWF_NOWAIT) or on tmpfs are taken at once, the others by the blocking pool.

use std::io::IoSliceMut;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;
use std::{fmt, mem};

use ftps_proto::machine::io::FileError;
use ftps_proto::path::VirtualPath;
use rustix::fs::{Advice, Stat, fadvise};
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use tokio::task::{JoinHandle, spawn_blocking};

use super::CHUNK;
use super::fault::say_time;
use super::medium::Medium;
use super::plan::Version;
use super::stored::Seen;
use super::tree::{Tree, open_regular, size};

/// An open file. A replacement of the file does not touch it: it goes on with the old one.
pub struct Reader {
    tree: Arc<Tree>,
    file: Arc<OwnedFd>,
    size: u64,
    /// What it was when it was opened.
    version: Version,
    /// The first byte not yet given out.
    offset: u64,
    buffer: Vec<u8>,
    /// Bytes at the start of `buffer`, read while the file was opened, so that a small file costs one hop to the pool.
    first: usize,
    /// What the pool reads ahead.
    ahead: Option<JoinHandle<Chunk>>,
    way: Way,
}

/// How bytes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// At once: they are in memory.
    AtOnce,
    /// At once if they are in the page cache.
    IfCached,
    /// By the pool: the file system does not know RWF_NOWAIT (NFS).
    Pooled,
}

struct Chunk {
    buffer: Vec<u8>,
    read: Result<usize, Errno>,
}

impl Tree {
    /// Opens a regular file at `offset`, and reads its first 64 KiB. May block.
    ///
    /// # Errors
    /// `NotRegular` and `IsADirectory`, `BadOffset` when the offset is beyond the end, and what the system says.
    pub fn open_read(self: &Arc<Self>, path: &VirtualPath, offset: u64) -> Result<Reader, FileError> {
        self.attempt("open", |home| {
            let (file, stat) = open_regular(home, path)?;
            let size = size(&stat);
            let left = size.checked_sub(offset).ok_or(FileError::BadOffset)?;
            if left > CHUNK as u64 {
                // A hint; a file system without readahead may refuse it.
                let _ = fadvise(&file, offset, None, Advice::Sequential);
            }
            let mut buffer = vec![0; bounded(INLINE, left)];
            let first = read_at(&file, &mut buffer, offset)?;
            let medium = self.shared.media.of(&file, stat.st_dev).unwrap_or(Medium::Unknown);
            let version = Version::of(&stat);
            Ok(Reader { tree: self.clone(), file: Arc::new(file), size, version, offset, buffer, first, ahead: None, way: Way::of(medium) })
        })
    }
}

impl Way {
    fn of(medium: Medium) -> Self {
        match medium {
            Medium::Memory => Self::AtOnce,
            Medium::Disk | Medium::Network | Medium::Unknown => Self::IfCached,
        }
    }
}

impl Reader {
    /// A file that was opened at once. `None` when `offset` is beyond its end.
    pub(super) fn begin_now(tree: &Arc<Tree>, file: OwnedFd, stat: &Stat, offset: u64, medium: Medium) -> Option<Self> {
        let size = size(stat);
        let left = size.checked_sub(offset)?;
        if left > CHUNK as u64 {
            let _ = fadvise(&file, offset, None, Advice::Sequential);
        }
        let version = Version::of(stat);
        let mut reader =
            Self { tree: tree.clone(), file: Arc::new(file), size, version, offset, buffer: Vec::new(), first: 0, ahead: None, way: Way::of(medium) };
        // What does not come now comes, or fails, at the first read.
        reader.first = reader.read_inline().and_then(Result::ok).unwrap_or(0);
        Some(reader)
    }

    /// The file's size when it was opened, in bytes, whatever the offset.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The file as it was opened, to look at it again afterwards.
    pub fn seen(&self) -> Seen {
        Seen { tree: self.tree.clone(), file: self.file.clone(), version: self.version }
    }

    /// Bytes still to be given out.
    pub fn left(&self) -> u64 {
        self.size - self.offset
    }

    /// The bytes that come next, at most [`CHUNK`]; none at the end. When the future is dropped, nothing is lost.
    ///
    /// # Errors
    /// `Busy` when the file became shorter than it was; `Io` and what else the system says.
    pub async fn read(&mut self) -> Result<&[u8], FileError> {
        if self.left() == 0 {
            return Ok(&[]);
        }
        let read = match mem::take(&mut self.first) {
            0 => {
                let began = Instant::now();
                let read = match self.read_inline() {
                    Some(read) => read,
                    None => self.read_pooled().await,
                };
                say_time("read", &self.tree.shared.observer, began);
                read
            }
            first => Ok(first),
        };
        let read = read.map_err(|errno| self.tree.tell("read", errno))?;
        if read == 0 {
            return Err(FileError::Busy);
        }
        self.offset += read as u64;
        Ok(&self.buffer[..read])
    }

    /// Takes what the page cache has; `None` when it has nothing, or cannot say.
    fn read_inline(&mut self) -> Option<Result<usize, Errno>> {
        if self.way == Way::Pooled || self.ahead.is_some() {
            return None;
        }
        let most = bounded(INLINE, self.left());
        if self.buffer.len() < most {
            self.buffer.resize(most, 0);
        }
        if self.way == Way::AtOnce {
            return Some(read_at(&self.file, &mut self.buffer[..most], self.offset));
        }
        match preadv2(&self.file, &mut [IoSliceMut::new(&mut self.buffer[..most])], self.offset, ReadWriteFlags::NOWAIT) {
            Err(Errno::AGAIN | Errno::INTR) => None,
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                self.way = Way::Pooled;
                None
            }
            done => Some(done),
        }
    }

    /// Waits for the pool. Where every chunk comes from there, it reads the next one while this one is sent; elsewhere the kernel's readahead has it in
    /// the page cache by then.
    async fn read_pooled(&mut self) -> Result<usize, Errno> {
        if self.ahead.is_none() {
            self.ahead = self.start(Vec::new(), self.offset);
        }
        // The handle stays in its place while it is awaited: a dropped future loses no chunk.
        let Some(ahead) = &mut self.ahead else { return Ok(0) };
        let chunk = ahead.await;
        self.ahead = None;
        let chunk = chunk.map_err(|_| Errno::IO)?;
        let read = chunk.read?;
        let spare = mem::replace(&mut self.buffer, chunk.buffer);
        if read > 0 && self.way == Way::Pooled {
            self.ahead = self.start(spare, self.offset + read as u64);
        }
        Ok(read)
    }

    /// Has the pool read at `offset`; nothing at the end of the file.
    fn start(&self, mut buffer: Vec<u8>, offset: u64) -> Option<JoinHandle<Chunk>> {
        let most = bounded(CHUNK, self.size.checked_sub(offset).filter(|left| *left > 0)?);
        let file = self.file.clone();
        Some(spawn_blocking(move || {
            if buffer.len() < most {
                buffer.resize(most, 0);
            }
            let read = read_at(&file, &mut buffer[..most], offset);
            Chunk { buffer, read }
        }))
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("size", &self.size).field("offset", &self.offset).finish_non_exhaustive()
    }
}

fn bounded(length: usize, left: u64) -> usize {
    usize::try_from(left).map_or(length, |left| length.min(left))
}

/// Reads once, at least a byte unless the file ends at `offset` or the buffer is empty.
pub(super) fn read_at(file: &OwnedFd, buffer: &mut [u8], offset: u64) -> Result<usize, Errno> {
    loop {
        match rustix::io::pread(file, &mut *buffer, offset) {
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
}

/// Bytes read while a file is opened, and at once from the page cache: as fast as 256 KiB, and a stalled client holds less.
const INLINE: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::path::{Path, PathBuf};

    use ftps_proto::machine::io::StoreMode;

    use super::super::scratch::{Scratch, path};
    use super::*;

    async fn all(reader: &mut Reader) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let chunk = reader.read().await.unwrap();
            if chunk.is_empty() {
                return bytes;
            }
            assert!(chunk.len() <= CHUNK);
            bytes.extend_from_slice(chunk);
        }
    }

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
    }

    /// Every size around the chunks, from every interesting offset, on a disk and on tmpfs.
    #[tokio::test]
    async fn gives_what_is_there() {
        for parent in [std::env::temp_dir(), "/dev/shm".into()].iter().filter(|parent| parent.is_dir()) {
            let scratch = Scratch::under(parent);
            scratch.directory("home");
            let tree = scratch.tree();
            for size in [0, 1, INLINE - 1, INLINE, INLINE + 1, 2 * CHUNK + 17, 5 * CHUNK] {
                let bytes = pattern(size);
                scratch.file("home/file", &bytes);
                for offset in [0, 1, size / 2, size].into_iter().filter(|offset| *offset <= size) {
                    let mut reader = tree.open_read(&path("/file"), offset as u64).unwrap();
                    assert_eq!((reader.size(), reader.left()), (size as u64, (size - offset) as u64));
                    assert!(all(&mut reader).await == bytes[offset..], "{size} from {offset}");
                }
                assert_eq!(tree.open_read(&path("/file"), size as u64 + 1).unwrap_err(), FileError::BadOffset);
            }
        }
    }

    #[tokio::test]
    async fn refuses_what_is_no_file_without_waiting() {
        let scratch = Scratch::new();
        scratch.directory("home/sub");
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, scratch.at("home/fifo"), fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR, 0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(scratch.at("home/socket")).unwrap();
        let tree = scratch.tree();
        let kinds = ["/fifo", "/socket", "/sub", "/", "/none", "/sub/none"].map(|name| tree.open_read(&path(name), 0).unwrap_err());
        let expected =
            [FileError::NotRegular, FileError::NotRegular, FileError::IsADirectory, FileError::IsADirectory, FileError::NotFound, FileError::NotFound];
        assert_eq!(kinds, expected);
    }

    #[tokio::test]
    async fn a_file_that_shrinks_is_no_whole_file_and_one_that_grows_ends_where_it_did() {
        for parent in [std::env::temp_dir(), "/dev/shm".into()].iter().filter(|parent: &&PathBuf| parent.is_dir()) {
            let scratch = Scratch::under(parent);
            scratch.directory("home");
            scratch.file("home/file", &pattern(CHUNK * 2));
            let tree = scratch.tree();
            let mut reader = tree.open_read(&path("/file"), 0).unwrap();
            std::fs::OpenOptions::new().write(true).open(scratch.at("home/file")).unwrap().set_len(CHUNK as u64).unwrap();
            let (mut read, mut error) = (0, None);
            for _ in 0..100 {
                match reader.read().await {
                    Ok(bytes) => read += bytes.len(),
                    Err(kind) => error = Some(kind),
                }
            }
            assert_eq!((error, read), (Some(FileError::Busy), CHUNK));
            let mut reader = tree.open_read(&path("/file"), 0).unwrap();
            scratch.file("home/file", &pattern(CHUNK * 3));
            assert_eq!(all(&mut reader).await.len(), CHUNK);
        }
    }

    /// Readers that began before a replacement end with the old bytes, later ones have the new ones; nobody has a mixture.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn readers_of_a_replaced_file_see_one_version() {
        let scratch = Scratch::new();
        scratch.directory("home");
        let tree = scratch.tree();
        let version = |number: u8| vec![number; CHUNK + 1000 * usize::from(number)];
        tree.plan_store(&path("/file"), StoreMode::Replace, None).unwrap().store(&version(0)).unwrap();
        let readers = (0..4).map(|_| {
            let tree = tree.clone();
            tokio::spawn(async move {
                for _ in 0..50 {
                    let mut reader = tree.open_read(&path("/file"), 0).unwrap();
                    let bytes = all(&mut reader).await;
                    let number = bytes[0];
                    assert!(bytes.len() == CHUNK + 1000 * usize::from(number) && bytes.iter().all(|byte| *byte == number));
                    tokio::task::yield_now().await;
                }
            })
        });
        let readers: Vec<_> = readers.collect();
        for number in 1..100 {
            tree.plan_store(&path("/file"), StoreMode::Replace, None).unwrap().store(&version(number)).unwrap();
            tokio::task::yield_now().await;
        }
        for reader in readers {
            reader.await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_dropped_read_loses_nothing() {
        let parent = if Path::new("/dev/shm").is_dir() { "/dev/shm".into() } else { std::env::temp_dir() };
        let scratch = Scratch::under(&parent);
        scratch.directory("home");
        let bytes = pattern(4 * CHUNK);
        scratch.file("home/file", &bytes);
        let mut reader = scratch.tree().open_read(&path("/file"), 0).unwrap();
        let mut seen = Vec::new();
        while reader.left() > 0 {
            let dropped = tokio::time::timeout(std::time::Duration::ZERO, reader.read()).await.map(|chunk| chunk.unwrap().to_vec());
            seen.extend(match dropped {
                Ok(chunk) => chunk,
                Err(_) => reader.read().await.unwrap().to_vec(),
            });
        }
        assert!(seen == bytes);
    }
}
