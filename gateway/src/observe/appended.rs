//! A file that grows line by line: opened again when it was rotated away, moved by a reload.
//!
//! Gets: whole lines, from any thread. Gives: the same lines at the end of the file.
//! Never: blocks a caller on a disk, or splits a line over a rotation.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::output::Output;

/// The file. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Appended {
    output: Arc<Output>,
    place: Place,
}

/// Where it is written, as the configuration says now.
type Place = Arc<Mutex<Option<PathBuf>>>;

impl Appended {
    /// At `path`; `None`: nowhere.
    ///
    /// # Errors
    /// The thread that writes cannot be started.
    pub(super) fn start(path: Option<PathBuf>) -> io::Result<Self> {
        let place: Place = Arc::new(Mutex::new(path));
        Ok(Self { output: Output::start(Writer { place: place.clone(), open: None })?, place })
    }

    /// From now on there.
    pub(super) fn set(&self, path: Option<PathBuf>) {
        *lock(&self.place) = path;
    }

    /// Whether lines go anywhere.
    pub(super) fn is_on(&self) -> bool {
        lock(&self.place).is_some()
    }

    /// One line, which ends with a line feed.
    pub(super) fn line(&self, line: &str) {
        self.output.line(line);
    }

    /// Lines that were lost so far: the disk was too slow, full or away.
    pub(super) fn dropped(&self) -> u64 {
        self.output.dropped()
    }

    /// Waits until all lines are written, at most one second.
    pub(super) fn flush(&self) {
        self.output.flush(Duration::from_secs(1));
    }
}

/// Whether the file that `key` names can be written. Makes it.
///
/// # Errors
/// Why not, and what to do.
pub fn check(key: &str, path: &Path) -> Result<(), String> {
    let why = |error: io::Error| format!("{key}: {} cannot be written ({error}); name a file in a directory that this process may write to", path.display());
    open(path).map(drop).map_err(why)
}

/// The end of the queue: the file, opened again when another one stands under its name.
struct Writer {
    place: Place,
    open: Option<(PathBuf, File)>,
}

impl Writer {
    /// The file that lines go to now. Called for each batch of lines, on the log's own thread.
    fn file(&mut self) -> io::Result<Option<&mut File>> {
        let Some(path) = lock(&self.place).clone() else {
            self.open = None;
            return Ok(None);
        };
        let is_there = |(open, file): &(PathBuf, File)| *open == path && same(file, &path);
        if !self.open.as_ref().is_some_and(is_there) {
            self.open = None;
            let file = open(&path)?;
            self.open = Some((path, file));
        }
        Ok(self.open.as_mut().map(|(_, file)| file))
    }
}

impl Write for Writer {
    /// All or nothing, so that a rotation is never in the middle of a line.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(file) = self.file()? {
            file.write_all(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Appends, so that several nodes and a rotation that copies and truncates do not write over each other.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

fn same(file: &File, path: &Path) -> bool {
    let (Ok(open), Ok(there)) = (file.metadata(), fs::metadata(path)) else { return false };
    (open.dev(), open.ino()) == (there.dev(), there.ino())
}

fn lock(place: &Place) -> std::sync::MutexGuard<'_, Option<PathBuf>> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}
