//! Patterns of LIST and NLST: `*` and `?` over one name.
//!
//! Gets: a pattern and a name. Gives: whether they match.
//! Never: recurses or backtracks over more than the last star, so work is at most pattern × name bytes (CVE-2010-2632).

/// Whether the bytes hold `*` or `?`.
pub fn is_pattern(bytes: &[u8]) -> bool {
    bytes.iter().any(|b| matches!(b, b'*' | b'?'))
}

/// Whether the whole name matches: `*` any bytes, `?` one byte, anything else itself. A leading dot needs a leading dot in the pattern, as in a shell.
pub fn matches(pattern: &[u8], name: &[u8]) -> bool {
    if name.first() == Some(&b'.') && pattern.first() != Some(&b'.') {
        return false;
    }
    let (mut p, mut n) = (0, 0);
    // After the last star: where the pattern goes on, and from which byte of the name it was tried last.
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                p += 1;
                retry = Some((p, n));
            }
            Some(&byte) if byte == b'?' || byte == name[n] => {
                p += 1;
                n += 1;
            }
            Some(_) | None => match retry {
                Some((after_star, tried)) => {
                    p = after_star;
                    n = tried + 1;
                    retry = Some((after_star, n));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&b| b == b'*')
}
