//! Directories of a test and files with contents that nobody can guess.
//!
//! Gets: names and sizes. Gives: files, their hashes, comparisons of whole trees.
//! Never: leaves a directory behind.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

/// A directory below the system's temporary one, removed when dropped.
pub struct Tree(PathBuf);

/// All names below a directory, hidden ones too, with the hash of each file; names of directories end with `/`.
pub fn contents(directory: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    walk(directory, "", &mut found);
    found
}

/// How many names a directory has, without the node's own mark.
pub fn entries(directory: &Path) -> usize {
    fs::read_dir(directory).expect("a directory").filter(|entry| entry.as_ref().is_ok_and(|entry| entry.file_name() != MARK)).count()
}

impl Tree {
    /// An empty directory with a name of its own.
    pub fn new() -> Self {
        let count = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ftps-test-{}-{count}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary directory");
        Self(path)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path of a name in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file, with its directories.
    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        fs::write(&path, bytes).expect("a file");
        path
    }

    /// Writes `size` random bytes in pieces; gives their SHA-256.
    pub fn write_random(&self, name: &str, size: u64) -> String {
        let path = self.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        let mut file = fs::File::create(path).expect("a file");
        let mut hash = Sha256::new();
        let mut left = size;
        while left > 0 {
            let piece = random_bytes(left.min(1 << 20) as usize);
            file.write_all(&piece).expect("space for a test file");
            hash.update(&piece);
            left -= piece.len() as u64;
        }
        hex(&hash.finalize())
    }

    /// The bytes of a file, `None` when it does not exist.
    pub fn read(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.join(name)).ok()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// SHA-256 of a file in hex; panics when it cannot be read.
pub fn sha256(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    digest(fs::File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

fn digest(mut file: fs::File) -> String {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).expect("a readable file") {
            0 => return hex(&hash.finalize()),
            count => hash.update(&buffer[..count]),
        }
    }
}

/// Holds bytes to others; says where they differ, not what they are.
#[track_caller]
pub fn same(came: &[u8], expected: &[u8], what: &str) {
    let place = came.iter().zip(expected).position(|(a, b)| a != b).unwrap_or(came.len().min(expected.len()));
    assert!(came == expected, "{what}: {} bytes instead of {}, different from byte {place} on", came.len(), expected.len());
}

/// Holds a file to its bytes.
#[track_caller]
pub fn same_file(path: impl AsRef<Path>, expected: &[u8], what: &str) {
    let path = path.as_ref();
    let came = fs::read(path).unwrap_or_else(|error| panic!("{what}: {}: {error}", path.display()));
    same(&came, expected, what);
}

/// Random bytes.
pub fn random_bytes(count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    aws_lc_rs::rand::fill(&mut bytes).expect("randomness");
    bytes
}

fn walk(directory: &Path, prefix: &str, found: &mut BTreeMap<String, String>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if name == MARK {
            continue;
        }
        if entry.path().is_dir() {
            walk(&entry.path(), &format!("{name}/"), found);
            found.insert(format!("{name}/"), String::new());
        } else if let Ok(file) = fs::File::open(entry.path()) {
            // What a node removes meanwhile is not there.
            found.insert(name, digest(file));
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a node writes below the root to know its storage again; no client sees it.
const MARK: &str = ".ftps-gateway.id";

static NEXT: AtomicU64 = AtomicU64::new(1);
