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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_as_a_shell_does() {
        for (pattern, name, expected) in [
            ("*", "a", true),
            ("*", ".a", false),
            (".*", ".a", true),
            ("*.txt", "a.txt", true),
            ("*.txt", "a.txt2", false),
            ("*.txt", ".txt", false),
            ("?", "a", true),
            ("?", "ab", false),
            ("?", "", false),
            ("?*", "ab", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "aXbY", false),
            ("a**", "a", true),
            ("**a", "bba", true),
            ("a", "a", true),
            ("a", "A", false),
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("[ab]", "a", false),
            ("[ab]", "[ab]", true),
            ("{a,b}", "a", false),
            ("\\*", "*", false),
            ("*aab", "aaaab", true),
            ("?.a", ".a", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    /// The plain definition, exponential, for short inputs.
    fn defined(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => defined(rest, name) || !name.is_empty() && defined(pattern, &name[1..]),
            ([p, ps @ ..], [n, ns @ ..]) => (*p == b'?' || p == n) && defined(ps, ns),
            _ => false,
        }
    }

    #[test]
    fn agrees_with_its_definition_on_all_short_inputs() {
        let words = |alphabet: &'static [u8]| {
            let mut all = vec![Vec::new()];
            for length in 0..5 {
                let longer: Vec<_> = all.iter().filter(|w| w.len() == length).flat_map(|w| alphabet.iter().map(|&b| [&w[..], &[b]].concat())).collect();
                all.extend(longer);
            }
            all
        };
        for name in words(b"ab") {
            for pattern in words(b"ab*?") {
                assert_eq!(matches(&pattern, &name), defined(&pattern, &name), "{pattern:?} {name:?}");
            }
        }
    }

    #[test]
    fn many_stars_end_soon() {
        let (pattern, name) = (b"*a".repeat(2000), b"a".repeat(255));
        assert!(!matches(&[&pattern[..], b"b"].concat(), &name));
        assert!(matches(&b"*".repeat(4000), &name));
    }
}
