//! TYPE A: line ends are LF on disk and CR LF on the wire (RFC 959 §3.1.1.1).
//!
//! Gets: chunks, cut anywhere. Gives: converted chunks. A CR LF on disk goes out once, as it is; a lone CR stays a lone CR both ways.
//! Never: looks at more than one byte across a cut.

/// Disk to wire.
#[derive(Clone, Copy, Debug, Default)]
pub struct ToWire {
    after_cr: bool,
}

/// Wire to disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct FromWire {
    held_cr: bool,
}

impl ToWire {
    /// Appends `bytes` to `out`, with a CR before every LF that has none.
    pub fn convert(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        out.reserve(bytes.len() + bytes.len() / 32);
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            match line {
                [text @ .., b'\n'] => {
                    out.extend_from_slice(text);
                    let ends_with_cr = text.last().map_or(self.after_cr, |last| *last == b'\r');
                    out.extend_from_slice(if ends_with_cr { b"\n" } else { b"\r\n" });
                    self.after_cr = false;
                }
                text => {
                    out.extend_from_slice(text);
                    self.after_cr = text.last() == Some(&b'\r');
                }
            }
        }
    }
}

impl FromWire {
    /// Appends `bytes` to `out`, every CR LF as LF. A CR at the end waits for the next chunk.
    pub fn convert(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        out.reserve(bytes.len() + 1);
        if self.held_cr && bytes[0] != b'\n' {
            out.push(b'\r');
        }
        self.held_cr = false;
        if let [rest @ .., b'\r'] = bytes {
            self.held_cr = true;
            bytes = rest;
        }
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            match line {
                [text @ .., b'\r', b'\n'] => {
                    out.extend_from_slice(text);
                    out.push(b'\n');
                }
                text => out.extend_from_slice(text),
            }
        }
    }

    /// Appends what was held back: the stream ended with a CR.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.held_cr) {
            out.push(b'\r');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On disk, on the wire, back on disk.
    const TABLE: [(&[u8], &[u8], &[u8]); 12] = [
        (b"", b"", b""),
        (b"a", b"a", b"a"),
        (b"\n", b"\r\n", b"\n"),
        (b"a\nb", b"a\r\nb", b"a\nb"),
        (b"a\r\nb", b"a\r\nb", b"a\nb"),
        (b"a\r\n\nb\n", b"a\r\n\r\nb\r\n", b"a\n\nb\n"),
        (b"\r", b"\r", b"\r"),
        (b"a\rb\r", b"a\rb\r", b"a\rb\r"),
        (b"\r\r\n", b"\r\r\n", b"\r\n"),
        (b"\n\r", b"\r\n\r", b"\n\r"),
        (b"\n\n\n", b"\r\n\r\n\r\n", b"\n\n\n"),
        (b"\r\n\r\n", b"\r\n\r\n", b"\n\n"),
    ];

    /// Every way to cut a short text into chunks.
    fn cuts(text: &[u8]) -> Vec<Vec<&[u8]>> {
        (0..1_usize << text.len().saturating_sub(1))
            .map(|mask| {
                let mut chunks = Vec::new();
                let mut from = 0;
                for at in 1..text.len() {
                    if mask >> (at - 1) & 1 == 1 {
                        chunks.push(&text[from..at]);
                        from = at;
                    }
                }
                chunks.push(&text[from..]);
                chunks
            })
            .collect()
    }

    #[test]
    fn converts_out_however_it_is_cut() {
        for (disk, wire, _) in TABLE {
            for chunks in cuts(disk) {
                let (mut converter, mut out) = (ToWire::default(), Vec::new());
                chunks.iter().for_each(|chunk| converter.convert(chunk, &mut out));
                assert_eq!(out, wire, "{chunks:?}");
            }
        }
    }

    #[test]
    fn converts_in_however_it_is_cut() {
        for (_, wire, disk) in TABLE {
            for chunks in cuts(wire) {
                let (mut converter, mut out) = (FromWire::default(), Vec::new());
                chunks.iter().for_each(|chunk| converter.convert(chunk, &mut out));
                converter.finish(&mut out);
                assert_eq!(out, disk, "{chunks:?}");
            }
        }
    }
}
