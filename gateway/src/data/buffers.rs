//! Large buffers for socket reads, lent while an upload runs.
//!
//! Gets: an upload that begins. Gives: 256 KiB, back when dropped. A few are kept for the next, the rest is freed.
//! Never: keeps more than its cap when nothing runs.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// The node's spare buffers. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Buffers(Arc<Mutex<Vec<Box<[u8]>>>>);

/// A buffer on loan.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Box<[u8]>,
    home: Buffers,
}

impl Buffers {
    pub(super) fn lend(&self) -> Buffer {
        let spare = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Buffer { bytes: spare.unwrap_or_else(|| vec![0; SIZE].into_boxed_slice()), home: self.clone() }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut spare = self.home.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < KEPT {
            spare.push(std::mem::take(&mut self.bytes));
        }
    }
}

/// Bytes read from a socket at once: measured best for uploads.
pub(super) const SIZE: usize = 256 * 1024;

/// Buffers kept when nothing runs.
const KEPT: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_a_few_and_lends_them_again() {
        let buffers = Buffers::default();
        let lent: Vec<_> = (0..KEPT + 3).map(|_| buffers.lend()).collect();
        assert!(lent.iter().all(|buffer| buffer.len() == SIZE));
        drop(lent);
        assert_eq!(buffers.0.lock().map(|spare| spare.len()).ok(), Some(KEPT));
        let again = buffers.lend();
        assert_eq!(buffers.0.lock().map(|spare| spare.len()).ok(), Some(KEPT - 1));
        drop(again);
    }
}
