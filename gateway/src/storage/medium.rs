//! What stands behind files: memory, a disk of this machine, or somebody else's machine.
//!
//! Gets: an open file and its device. Gives: its [`Medium`], remembered by device, because on a network file system even asking goes to the server.
//! Never: takes an unknown file system for a local one.

use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

use rustix::fs::fstatfs;
use rustix::io::Errno;

/// Where bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Medium {
    /// tmpfs, ramfs: nothing is ever waited for (a page that was swapped out costs what any page of this process would).
    Memory,
    /// A file system of this machine's kernel on a disk: what is in its caches comes at once.
    Disk,
    /// May report errors late, and waits for a server or another process at any time.
    Network,
    /// One that we do not know: waits like a network file system, reports like a disk.
    Unknown,
}

/// Devices seen so far.
#[derive(Debug, Default)]
pub(super) struct Media(Mutex<Vec<(u64, Medium)>>);

impl Media {
    /// What is behind this device, if a file of it was seen before.
    pub(super) fn known(&self, device: u64) -> Option<Medium> {
        let devices = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        devices.iter().find(|(seen, _)| *seen == device).map(|(_, medium)| *medium)
    }

    /// What is behind this file of this device. May block.
    pub(super) fn of(&self, file: impl AsFd, device: u64) -> Result<Medium, Errno> {
        if let Some(medium) = self.known(device) {
            return Ok(medium);
        }
        // The type is 32 bits; where the field is wider, CIFS may come sign-extended.
        let medium = named(fstatfs(file)?.f_type as u32);
        let mut devices = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if devices.len() == DEVICES_MOST {
            devices.clear();
        }
        devices.push((device, medium));
        Ok(medium)
    }
}

fn named(magic: u32) -> Medium {
    match magic {
        magic if MEMORY.contains(&magic) => Medium::Memory,
        magic if DISK.contains(&magic) => Medium::Disk,
        magic if NETWORK.contains(&magic) => Medium::Network,
        _ => Medium::Unknown,
    }
}

/// tmpfs, ramfs (statfs(2) and the kernel's `magic.h`, as all that follow).
const MEMORY: [u32; 2] = [0x0102_1994, 0x8584_58F6];
/// ext2 to ext4, XFS, btrfs, F2FS, ZFS.
const DISK: [u32; 5] = [0xEF53, 0x5846_5342, 0x9123_683E, 0xF2F5_2010, 0x2FC1_2FC1];
/// File systems that may report errors late: NFS, SMB, CIFS, SMB2, Ceph, FUSE (and virtiofs), 9p, AFS, Coda, GFS2, OCFS2, Lustre, GPFS, BeeGFS, Panasas.
const NETWORK: [u32; 15] = [
    0x6969,
    0x517B,
    0xFF53_4D42,
    0xFE53_4D42,
    0x00C3_6400,
    0x6573_5546,
    0x0102_1997,
    0x5346_414F,
    0x7375_7245,
    0x0116_1970,
    0x7461_636F,
    0x0BD0_0BD0,
    0x4750_4653,
    0x1983_0326,
    0xAAD7_AAEA,
];
/// Devices remembered; more mounts than that below one root are asked again.
const DEVICES_MOST: usize = 256;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use rustix::fs::fstat;

    use super::*;

    #[test]
    fn knows_a_device_once_it_was_seen() {
        let media = Media::default();
        let file = std::fs::File::open("/dev/shm").unwrap();
        let device = fstat(&file).unwrap().st_dev;
        assert_eq!(media.known(device), None);
        assert_eq!(media.of(&file, device), Ok(Medium::Memory));
        assert_eq!(media.known(device), Some(Medium::Memory));
    }

    #[test]
    fn what_is_unknown_is_not_local() {
        assert_eq!([0xEF53, 0x6969, 0x6573_5546, 1].map(named), [Medium::Disk, Medium::Network, Medium::Network, Medium::Unknown]);
    }
}
