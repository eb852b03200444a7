//! A Rust file as text: code without comments and strings, so that rules can be read off it.
//!
//! Gets: the tracked files of the repository. Gives: lines, code, string literals, where the tests begin.
//! Never: a full parser: what rules need, and no more.

use std::path::{Path, PathBuf};
use std::process::Command;

/// One Rust source file.
pub struct Source {
    /// Relative to the repository.
    pub path: String,
    pub text: String,
    /// The text with every byte of comments, strings and characters blanked, line ends kept.
    pub code: String,
    /// The same with everything under `#[cfg(test)]` blanked too.
    pub product_code: String,
    /// String literals and where they begin.
    pub strings: Vec<(usize, String)>,
    /// Where the items under `#[cfg(test)]` begin and end.
    test_items: Vec<(usize, usize)>,
    /// Whether another file declares this one under `#[cfg(test)]`.
    declared_as_test: bool,
}

impl Source {
    /// All tracked Rust files.
    pub fn all() -> Vec<Self> {
        let mut sources: Vec<Self> = tracked().into_iter().filter(|path| path.ends_with(".rs")).map(Self::read).collect();
        let declared: Vec<String> = sources.iter().flat_map(Self::test_modules).collect();
        for source in &mut sources {
            let module = source.path.trim_end_matches(".rs").trim_end_matches("/mod");
            // A test module's own modules are tests as well.
            source.declared_as_test = declared.iter().any(|test| module == test || module.starts_with(&format!("{test}/")));
        }
        sources
    }

    /// Those of the product: not `tests/`.
    pub fn product() -> Vec<Self> {
        Self::all().into_iter().filter(|source| source.path.starts_with("gateway/")).collect()
    }

    /// From a text; for the tests of the rules themselves.
    pub fn new(path: &str, text: &str) -> Self {
        let mut lexer = Lexer { bytes: text.as_bytes(), at: 0, code: Vec::with_capacity(text.len()), strings: Vec::new() };
        lexer.run();
        let (code, strings) = (String::from_utf8(lexer.code).expect("blanked text is UTF-8"), lexer.strings);
        let test_items = test_items(&code);
        let mut product = code.clone().into_bytes();
        for (from, to) in &test_items {
            product[*from..*to].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
        }
        let product_code = String::from_utf8(product).expect("blanked text is UTF-8");
        Self { path: path.to_owned(), text: text.to_owned(), code, product_code, strings, test_items, declared_as_test: false }
    }

    /// Whether the whole file is a test.
    pub fn is_test(&self) -> bool {
        self.declared_as_test || self.path.starts_with("tests/")
    }

    /// Where the test module that closes the file begins, or the end.
    pub fn tests_at(&self) -> usize {
        self.test_items
            .iter()
            .find(|(from, to)| self.code[*from..*to].contains("mod ") && self.code[*from..*to].ends_with('}'))
            .map_or(self.code.len(), |(from, _)| *from)
    }

    /// String literals outside of tests.
    pub fn product_strings(&self) -> impl Iterator<Item = &(usize, String)> {
        self.strings.iter().filter(|(offset, _)| !self.test_items.iter().any(|(from, to)| (from..to).contains(&offset)))
    }

    /// Modules in files of their own that are declared under `#[cfg(test)]`, as paths without `.rs` and `/mod.rs`.
    fn test_modules(&self) -> Vec<String> {
        let inside = self.path.trim_end_matches(".rs");
        let folder = ["/mod", "/lib", "/main"].iter().find_map(|end| inside.strip_suffix(end)).unwrap_or(inside);
        let mut found = Vec::new();
        for (from, to) in self.test_items.iter().filter(|(from, to)| self.code[*from..*to].ends_with(';')) {
            let named = self.strings.iter().find(|(offset, _)| (from..to).contains(&offset) && self.text[*from..*offset].contains("path"));
            let item = &self.code[*from..*to];
            let name = item.rsplit("mod ").next().unwrap_or_default().trim_end_matches(';').trim();
            match named {
                Some((_, file)) => found.push(format!("{}/{}", self.path.rsplit_once('/').map_or("", |(folder, _)| folder), file.trim_end_matches(".rs"))),
                None if item.contains("mod ") => found.push(format!("{folder}/{name}")),
                None => {}
            }
        }
        found
    }

    /// The line of an offset, from 1.
    pub fn line(&self, offset: usize) -> usize {
        self.code[..offset].matches('\n').count() + 1
    }

    /// `path:line`.
    pub fn at(&self, offset: usize) -> String {
        format!("{}:{}", self.path, self.line(offset))
    }

    fn read(path: String) -> Self {
        let text = std::fs::read_to_string(root().join(&path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        Self::new(&path, &text)
    }
}

/// Where each item behind `#[cfg(test)]` begins and ends.
fn test_items(code: &str) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    for (from, mark) in code.match_indices("#[cfg(test)]") {
        if found.last().is_some_and(|(_, end)| from < *end) {
            continue;
        }
        let mut depth = 0;
        let end = code[from + mark.len()..].char_indices().find_map(|(place, char)| {
            depth += i32::from(matches!(char, '{' | '(' | '[')) - i32::from(matches!(char, '}' | ')' | ']'));
            let ended = depth == 0 && matches!(char, '}' | ';');
            ended.then(|| from + mark.len() + place + 1)
        });
        found.push((from, end.unwrap_or(code.len())));
    }
    found
}

/// The top of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("gateway/ is inside the repository").to_owned()
}

/// Tracked files, and new ones that are not ignored; those that still exist.
pub fn tracked() -> Vec<String> {
    let listed = Command::new("git").args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root()).output();
    let listed = listed.ok().filter(|output| output.status.success());
    let mut files: Vec<String> = match listed {
        Some(output) => String::from_utf8_lossy(&output.stdout).split('\0').filter(|path| !path.is_empty()).map(String::from).collect(),
        // An unpacked archive has no git: everything but build products is the repository.
        None => walk(&root(), ""),
    };
    files.retain(|path| root().join(path).is_file());
    files.sort();
    files.dedup();
    files
}

fn walk(directory: &Path, prefix: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a readable tree").flatten() {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if matches!(name.as_str(), "target" | ".git" | "ftp-data") {
            continue;
        }
        if entry.path().is_dir() { found.extend(walk(&entry.path(), &format!("{name}/"))) } else { found.push(name) }
    }
    found
}

struct Lexer<'a> {
    bytes: &'a [u8],
    at: usize,
    code: Vec<u8>,
    strings: Vec<(usize, String)>,
}

impl Lexer<'_> {
    fn run(&mut self) {
        while self.at < self.bytes.len() {
            match (self.bytes[self.at], self.peek(1)) {
                (b'/', b'/') => self.blank(self.until(b"\n", self.at)),
                (b'/', b'*') => self.blank(self.comment_end()),
                (b'"', _) => self.string(self.at + 1, b"\"", true),
                (b'r', b'"' | b'#') if !self.inside_word() => self.raw(),
                (b'\'', _) => self.character(),
                _ => self.keep(),
            }
        }
    }

    fn keep(&mut self) {
        self.code.push(self.bytes[self.at]);
        self.at += 1;
    }

    fn blank(&mut self, to: usize) {
        for byte in &self.bytes[self.at..to] {
            self.code.push(if *byte == b'\n' { b'\n' } else { b' ' });
        }
        self.at = to;
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn until(&self, end: &[u8], from: usize) -> usize {
        let rest = &self.bytes[from.min(self.bytes.len())..];
        rest.windows(end.len()).position(|window| window == end).map_or(self.bytes.len(), |place| from + place)
    }

    /// Block comments nest.
    fn comment_end(&self) -> usize {
        let (mut depth, mut at) = (0, self.at);
        while at < self.bytes.len() {
            match &self.bytes[at..self.bytes.len().min(at + 2)] {
                b"/*" => (depth, at) = (depth + 1, at + 2),
                b"*/" if depth == 1 => return at + 2,
                b"*/" => (depth, at) = (depth - 1, at + 2),
                _ => at += 1,
            }
        }
        at
    }

    fn inside_word(&self) -> bool {
        // `br"…"` is a raw string too.
        let before = self.at.checked_sub(1).map(|at| self.bytes[at]);
        before.is_some_and(|byte| byte == b'_' || (byte.is_ascii_alphanumeric() && byte != b'b'))
    }

    fn raw(&mut self) {
        let hashes = self.bytes[self.at + 1..].iter().take_while(|byte| **byte == b'#').count();
        if self.peek(1 + hashes) != b'"' {
            // `r#name`, a raw identifier.
            return self.keep();
        }
        let end = [b"\"", &b"#".repeat(hashes)[..]].concat();
        self.string(self.at + 2 + hashes, &end, false);
    }

    fn string(&mut self, from: usize, end: &[u8], escapes: bool) {
        let mut close = self.until(end, from);
        while escapes && close < self.bytes.len() && self.bytes[from..close].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1 {
            close = self.until(end, close + 1);
        }
        self.strings.push((self.at, String::from_utf8_lossy(&self.bytes[from.min(close)..close]).into_owned()));
        self.blank((close + end.len()).min(self.bytes.len()));
    }

    /// A character or a lifetime.
    fn character(&mut self) {
        let text = std::str::from_utf8(&self.bytes[self.at + 1..]).unwrap_or_default();
        let mut chars = text.char_indices();
        let first = chars.next().map_or(' ', |(_, char)| char);
        if first == '\\' {
            let close = self.until(b"'", self.at + 3);
            self.blank((close + 1).min(self.bytes.len()));
        } else if chars.next().is_some_and(|(_, char)| char == '\'') {
            self.blank(self.at + 2 + first.len_utf8());
        } else {
            self.keep();
        }
    }
}

#[test]
fn comments_strings_and_characters_are_blanked() {
    let text = "let a = \"x // {\"; // } \"\nlet b = '{'; let c: &'a str = r#\"\"}\"#; /* { /* } */ */ let d = b'\\''; let e = \"\\\\\";";
    let source = Source::new("a.rs", text);
    assert_eq!(source.code.len(), text.len());
    assert!(!source.code.contains(['{', '}', '"']), "{}", source.code);
    assert!(source.code.contains("&'a str") && source.code.contains("let e ="), "{}", source.code);
    assert_eq!(source.strings.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["x // {", "\"}", "\\\\"]);
}

#[test]
fn what_is_for_tests_is_told_from_the_product() {
    let text = "#[cfg(test)]\nmod random;\nmod real;\n#[cfg(test)]\n#[path = \"x_tests.rs\"]\nmod tests;\nfn a() { b(\"seen\") }\n#[cfg(test)]\nmod inline {\n  fn c() { d(\"unseen\") }\n}\n";
    let source = Source::new("gateway/src/room/mod.rs", text);
    assert_eq!(source.test_modules(), ["gateway/src/room/random", "gateway/src/room/x_tests"]);
    assert!(source.product_code.contains("mod real;") && source.product_code.contains("fn a()") && !source.product_code.contains("fn c()"));
    assert_eq!(source.product_strings().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["seen"]);
    assert_eq!(source.line(source.tests_at()), 8);
}
