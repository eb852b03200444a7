//! Reads and writes DER (X.690), the form of certificates and OCSP responses, one value at a time.
//!
//! Gets: any bytes. Gives: tags and contents, each length in its one shortest form.
//! Never: panics, copies, goes below the value that it was asked for.

/// What is left of a run of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// A run of values, such as the content of a sequence.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next tag and its content; `None` at the end, where the length does not fit, and where it is not in its shortest form.
    #[allow(clippy::should_implement_trait, reason = "the end and a broken value are both `None`, which no iterator would say")]
    pub fn next(&mut self) -> Option<(u8, &'a [u8])> {
        self.whole().map(|(tag, content, _)| (tag, content))
    }

    /// The same, and the whole value with tag and length.
    pub fn whole(&mut self) -> Option<(u8, &'a [u8], &'a [u8])> {
        let all = self.0;
        let [tag, first, rest @ ..] = all else { return None };
        if tag & LONG_TAG == LONG_TAG {
            return None;
        }
        let (length, rest) = match *first {
            short @ 0..=0x7f => (usize::from(short), rest),
            long => {
                let (octets, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
                let length = octets.iter().try_fold(0_usize, |sum, octet| Some(sum.checked_mul(256)? + usize::from(*octet)))?;
                if octets.len() > LENGTH_OCTETS || octets.first().is_none_or(|octet| *octet == 0) || length < 0x80 {
                    return None;
                }
                (length, rest)
            }
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*tag, content, all.get(..all.len() - rest.len())?))
    }

    /// The content of the next value, which has to have this tag.
    pub fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }

    /// The content of the next value if it has this tag; one with another tag stays. Outer `None` only when that value is broken.
    #[allow(clippy::option_option, reason = "broken and absent are different things")]
    pub fn optional(&mut self, tag: u8) -> Option<Option<&'a [u8]>> {
        if self.0.first() == Some(&tag) { self.next().map(|(_, content)| Some(content)) } else { Some(None) }
    }

    /// `None` when something is left.
    pub fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }

    /// Whether nothing is left.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A value: tag, length, and these parts as its content.
pub fn write(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let octets = length.to_be_bytes();
    let skipped = octets.iter().take_while(|octet| **octet == 0).count();
    let mut out = vec![tag];
    match u8::try_from(length) {
        Ok(short @ 0..=0x7f) => out.push(short),
        Ok(_) | Err(_) => {
            // At most eight octets.
            out.push(0x80 | (octets.len() - skipped) as u8);
            out.extend_from_slice(&octets[skipped..]);
        }
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

/// Universal tags, and those of context that several forms have.
pub const BOOLEAN: u8 = 0x01;
/// An integer, big-endian, in two's complement.
pub const INTEGER: u8 = 0x02;
/// Bits; the first octet says how many of the last one are not used.
pub const BIT_STRING: u8 = 0x03;
/// Bytes.
pub const OCTET_STRING: u8 = 0x04;
/// Nothing.
pub const NULL: u8 = 0x05;
/// An object identifier.
pub const OBJECT_ID: u8 = 0x06;
/// An enumerated value.
pub const ENUMERATED: u8 = 0x0a;
/// Text in UTF-8.
pub const UTF8_STRING: u8 = 0x0c;
/// Text of letters, digits and some signs.
pub const PRINTABLE_STRING: u8 = 0x13;
/// Text in ASCII.
pub const IA5_STRING: u8 = 0x16;
/// A time with two digits of the year.
pub const UTC_TIME: u8 = 0x17;
/// A time with four digits of the year.
pub const GENERALIZED_TIME: u8 = 0x18;
/// A sequence.
pub const SEQUENCE: u8 = 0x30;
/// `[0]`, constructed.
pub const CONTEXT_0: u8 = 0xa0;
/// `[1]`, constructed.
pub const CONTEXT_1: u8 = 0xa1;
/// `[2]`, constructed.
pub const CONTEXT_2: u8 = 0xa2;
/// `[3]`, constructed.
pub const CONTEXT_3: u8 = 0xa3;

/// The tag goes on in further octets: nothing that is read here has such a one.
const LONG_TAG: u8 = 0x1f;
/// Of a length: more than 16 MiB is nothing that is read here.
const LENGTH_OCTETS: usize = 3;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn values_of_any_length_are_read_as_they_were_written() {
        for length in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000] {
            let content = vec![7; length];
            let value = write(OCTET_STRING, &[&content[..length / 2], &content[length / 2..]]);
            let mut der = Der::new(&value);
            assert_eq!(der.whole(), Some((OCTET_STRING, &content[..], &value[..])), "{length}");
            assert_eq!((der.next(), der.end()), (None, Some(())));
            assert_eq!(Der::new(&value[..value.len() - 1]).next(), None, "cut");
        }
    }

    #[test]
    fn a_length_has_one_form() {
        for broken in [&[4, 0x80][..], &[4, 0x81, 1, 0], &[4, 0x81, 0x7f], &[4, 0x82, 0, 0x80], &[4, 0x84, 0, 0, 0, 0], &[4, 0xff], &[0x1f, 0], &[4], &[]] {
            let long = [broken, &[0; 200]].concat();
            assert_eq!(Der::new(broken).next(), None, "{broken:?}");
            assert!(broken.len() < 2 || Der::new(&long).next().is_none(), "{broken:?}");
        }
    }

    #[test]
    fn what_is_optional_may_be_missing_but_not_broken() {
        let value = write(BOOLEAN, &[&[0xff]]);
        let mut der = Der::new(&value);
        assert_eq!(der.optional(INTEGER), Some(None));
        assert_eq!(der.optional(BOOLEAN), Some(Some(&[0xff][..])));
        assert_eq!(der.optional(BOOLEAN), Some(None));
        assert_eq!(Der::new(&value[..2]).optional(BOOLEAN), None);
    }
}
