//! The body of every value that leaves the node: fixed integers, big endian, and byte strings with a cap.
//!
//! Gets: integers and bytes, or what a stranger may have written. Gives: bytes, or the same integers and bytes.
//! Never: allocates by a length that it read, guesses a type, or leaves bytes behind unseen.

use thiserror::Error;

/// Why bytes are not what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WireError {
    /// They end too early.
    #[error("the value ends too early")]
    Short,
    /// A byte string, or the whole value, is longer than its cap.
    #[error("a part of the value is longer than its cap")]
    TooLong,
    /// Something follows the end.
    #[error("bytes follow the end of the value")]
    Trailing,
}

/// Writes a value of at most `cap` bytes. Going over the cap is told once, by [`Writer::finish`].
#[derive(Debug)]
pub struct Writer {
    bytes: Vec<u8>,
    cap: usize,
    over: bool,
}

impl Writer {
    /// An empty value that may grow to `cap` bytes.
    pub fn new(cap: usize) -> Self {
        Self { bytes: Vec::new(), cap, over: false }
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.array(&[value])
    }

    /// Two bytes, big endian.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.array(&value.to_be_bytes())
    }

    /// Four bytes, big endian.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.array(&value.to_be_bytes())
    }

    /// Eight bytes, big endian.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.array(&value.to_be_bytes())
    }

    /// Bytes whose number both sides know: no length is written.
    pub fn array(&mut self, value: &[u8]) -> &mut Self {
        if self.bytes.len() + value.len() > self.cap {
            self.over = true;
        } else {
            self.bytes.extend_from_slice(value);
        }
        self
    }

    /// Bytes behind their number (four bytes).
    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        match u32::try_from(value.len()) {
            Ok(length) => self.u32(length).array(value),
            Err(_) => {
                self.over = true;
                self
            }
        }
    }

    /// The value.
    ///
    /// # Errors
    /// [`WireError::TooLong`] when it did not fit its cap.
    pub fn finish(self) -> Result<Vec<u8>, WireError> {
        if self.over { Err(WireError::TooLong) } else { Ok(self.bytes) }
    }
}

/// Reads a value. Every method fails with [`WireError::Short`] when the value ends too early.
#[derive(Clone, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// One byte.
    ///
    /// # Errors
    /// [`WireError::Short`].
    pub fn u8(&mut self) -> Result<u8, WireError> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Two bytes, big endian.
    ///
    /// # Errors
    /// [`WireError::Short`].
    pub fn u16(&mut self) -> Result<u16, WireError> {
        self.array().map(u16::from_be_bytes)
    }

    /// Four bytes, big endian.
    ///
    /// # Errors
    /// [`WireError::Short`].
    pub fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_be_bytes)
    }

    /// Eight bytes, big endian.
    ///
    /// # Errors
    /// [`WireError::Short`].
    pub fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_be_bytes)
    }

    /// `N` bytes without a length before them.
    ///
    /// # Errors
    /// [`WireError::Short`].
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(WireError::Short)?;
        self.0 = rest;
        Ok(*head)
    }

    /// Bytes behind their number, at most `max`.
    ///
    /// # Errors
    /// [`WireError::TooLong`] when the number is greater than `max`, [`WireError::Short`].
    pub fn bytes(&mut self, max: usize) -> Result<&'a [u8], WireError> {
        let length = usize::try_from(self.u32()?).map_err(|_| WireError::TooLong)?;
        if length > max {
            return Err(WireError::TooLong);
        }
        let (head, rest) = self.0.split_at_checked(length).ok_or(WireError::Short)?;
        self.0 = rest;
        Ok(head)
    }

    /// All that is left, at most `max` bytes.
    ///
    /// # Errors
    /// [`WireError::TooLong`].
    pub fn rest(&mut self, max: usize) -> Result<&'a [u8], WireError> {
        if self.0.len() > max {
            return Err(WireError::TooLong);
        }
        Ok(std::mem::take(&mut self.0))
    }

    /// The value ends here.
    ///
    /// # Errors
    /// [`WireError::Trailing`] when it does not.
    pub fn end(&self) -> Result<(), WireError> {
        if self.0.is_empty() { Ok(()) } else { Err(WireError::Trailing) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn sample() -> Vec<u8> {
        let mut w = Writer::new(64);
        w.u8(7).u16(0x0102).u32(0x0304_0506).u64(u64::MAX).array(b"four").bytes(b"").bytes(b"some bytes").array(b"rest");
        w.finish().unwrap()
    }

    type Sample = (u8, u16, u32, u64, [u8; 4], Vec<u8>, Vec<u8>, Vec<u8>);

    fn read(bytes: &[u8]) -> Result<Sample, WireError> {
        let mut r = Reader::new(bytes);
        let out = (r.u8()?, r.u16()?, r.u32()?, r.u64()?, r.array()?, r.bytes(0)?.to_vec(), r.bytes(10)?.to_vec(), r.array::<4>()?.to_vec());
        r.end()?;
        Ok(out)
    }

    #[test]
    fn what_was_written_is_read() {
        let bytes = sample();
        assert_eq!(&bytes[..3], [7, 1, 2]);
        let expected = (7, 0x0102, 0x0304_0506, u64::MAX, *b"four", vec![], b"some bytes".to_vec(), b"rest".to_vec());
        assert_eq!(read(&bytes), Ok(expected));
    }

    #[test]
    fn every_cut_is_short_and_every_tail_is_seen() {
        let bytes = sample();
        for cut in 0..bytes.len() {
            assert_eq!(read(&bytes[..cut]), Err(WireError::Short), "cut at {cut}");
        }
        assert_eq!(read(&[bytes, vec![0]].concat()), Err(WireError::Trailing));
    }

    #[test]
    fn caps_hold_both_ways() {
        let mut w = Writer::new(4);
        w.u32(1).u8(1);
        assert_eq!(w.finish(), Err(WireError::TooLong));
        let huge = [0xff, 0xff, 0xff, 0xff, 1];
        assert_eq!(Reader::new(&huge).bytes(1 << 20), Err(WireError::TooLong));
        assert_eq!(Reader::new(&huge).rest(4), Err(WireError::TooLong));
        assert_eq!(Reader::new(&huge).rest(5), Ok(&huge[..]));
    }
}
