//! The shape of files and functions: headers, lengths, and no way to panic that is not proven.
//!
//! Gets: every Rust file. Gives: what is too long, headless or unproven.
//! Never: counts tests against the length of a file.

use super::source::Source;

const LONGEST_FILE: usize = 400;
const LONGEST_FUNCTION: usize = 60;
const PANICS: [&str; 6] = [".unwrap()", ".expect(", "panic!(", "todo!(", "unimplemented!(", "dbg!("];

#[test]
fn every_file_says_what_it_owns() {
    let short = |source: &&Source| source.text.lines().take_while(|line| line.starts_with("//!")).count() < 2;
    let wrong: Vec<_> = Source::all().iter().filter(short).map(|source| source.path.clone()).collect();
    assert!(wrong.is_empty(), "files whose `//!` header has less than two lines:\n{}", wrong.join("\n"));
}

#[test]
fn no_file_is_too_long() {
    let mut wrong = Vec::new();
    for source in Source::all() {
        let end = if source.is_test() { source.code.len() } else { source.tests_at() };
        let lines = source.text[..end].lines().count();
        if lines > LONGEST_FILE {
            wrong.push(format!("{}: {lines} lines before its tests", source.path));
        }
    }
    assert!(wrong.is_empty(), "over {LONGEST_FILE} lines:\n{}", wrong.join("\n"));
}

#[test]
fn no_function_is_too_long() {
    let long = |source: &Source| functions(source).into_iter().filter(|(_, lines)| *lines > LONGEST_FUNCTION).collect::<Vec<_>>();
    let mut wrong = Vec::new();
    for source in Source::all() {
        for (offset, lines) in long(&source) {
            if !remark_above(&source, offset).contains("// long: ") {
                wrong.push(format!("{}: {lines} lines", source.at(offset)));
            }
        }
    }
    assert!(wrong.is_empty(), "functions over {LONGEST_FUNCTION} lines without `// long: reason` above:\n{}", wrong.join("\n"));
}

#[test]
fn nothing_outside_tests_panics_without_a_proof() {
    let mut wrong = Vec::new();
    for source in Source::product().iter().filter(|source| !source.is_test() && !source.path.starts_with("gateway/fuzz/")) {
        let code = &source.product_code;
        for word in PANICS {
            for (offset, _) in code.match_indices(word).filter(|(offset, _)| !part_of_a_word(code, *offset, word)) {
                // `expect` takes words; a parser may have a method of that name that takes what it expects.
                let other = word == ".expect(" && !source.text[offset + word.len()..].trim_start().starts_with(['"', '&']);
                if !other && !proven(source, offset) {
                    wrong.push(format!("{}: {word}", source.at(offset)));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "may panic, without `#[allow(clippy::…)]` and a comment that proves it cannot:\n{}", wrong.join("\n"));
}

#[test]
fn no_mark_of_unfinished_work_is_left() {
    let marks = ["TO", "FIX", "XX"].map(|half| {
        format!(
            "{half}{}",
            if half == "TO" {
                "DO"
            } else if half == "FIX" {
                "ME"
            } else {
                "X"
            }
        )
    });
    let ignored = format!("#[{}", "ignore");
    let mut wrong = Vec::new();
    for source in Source::all() {
        for (number, line) in source.text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark.as_str())) || line.trim_start().starts_with(&ignored) {
                wrong.push(format!("{}:{}: {}", source.path, number + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn names_are_words_of_the_field() {
    let mut wrong = Vec::new();
    for source in Source::product() {
        for (offset, _) in source.code.match_indices("fn get_") {
            wrong.push(format!("{}: a getter is called like what it gives", source.at(offset)));
        }
        for kind in ["struct ", "enum ", "trait "] {
            for (offset, _) in source.code.match_indices(kind) {
                let name: String = source.code[offset + kind.len()..].chars().take_while(|char| char.is_alphanumeric()).collect();
                if ["Manager", "Helper", "Util", "Utils"].iter().any(|word| name.ends_with(word)) {
                    wrong.push(format!("{}: {name}", source.at(offset)));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Offset and length in lines of every function with a body.
fn functions(source: &Source) -> Vec<(usize, usize)> {
    let code = source.code.as_bytes();
    let starts = source.code.match_indices("fn ").map(|(offset, _)| offset).filter(|offset| *offset == 0 || !is_word(code[offset - 1]));
    starts.filter_map(|offset| body_end(code, offset).map(|end| (offset, source.line(end) - source.line(offset) + 1))).collect()
}

/// Where the braces of a function close; `None` for a declaration or a function type.
fn body_end(code: &[u8], from: usize) -> Option<usize> {
    let (mut braces, mut others) = (0_i32, 0_i32);
    for (at, byte) in code.iter().enumerate().skip(from) {
        match byte {
            b'(' | b'[' => others += 1,
            b')' | b']' => others -= 1,
            b'{' => braces += 1,
            b'}' => braces -= 1,
            b';' if braces == 0 && others == 0 => return None,
            _ => {}
        }
        if braces == 0 && *byte == b'}' {
            return Some(at);
        }
        // A function type ends with its surroundings.
        if others < 0 || braces < 0 {
            return None;
        }
    }
    None
}

/// The comments and attributes directly above.
fn remark_above(source: &Source, offset: usize) -> String {
    let begin = source.text[..offset].rfind('\n').unwrap_or(0);
    let lines: Vec<&str> = source.text[..begin].lines().collect();
    let above = lines.iter().rev().take_while(|line| line.trim_start().starts_with("//") || line.trim_start().starts_with("#["));
    above.copied().collect::<Vec<_>>().join("\n")
}

/// In the function's surroundings, at most four lines above: an `allow` for the line and a comment.
fn proven(source: &Source, offset: usize) -> bool {
    let lines: Vec<&str> = source.text.lines().collect();
    let line = source.line(offset);
    let near = &lines[line.saturating_sub(9)..line];
    let allowed = near.iter().any(|line| line.contains("allow(clippy::") || line.contains("expect(clippy::"));
    allowed && near.iter().any(|line| line.contains("// ") || line.contains("reason = "))
}

fn part_of_a_word(code: &str, offset: usize, word: &str) -> bool {
    !word.starts_with('.') && offset > 0 && is_word(code.as_bytes()[offset - 1])
}

fn is_word(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric()
}

#[test]
fn lengths_are_counted_from_the_name_to_the_last_brace() {
    let source = Source::new("a.rs", "trait A { fn a(); }\nfn b() -> impl Fn() {\n  let x: fn (u8) = c;\n  if y { }\n}\nfn c(f: fn (u8)) {}\n");
    assert_eq!(functions(&source).into_iter().map(|(offset, lines)| (source.line(offset), lines)).collect::<Vec<_>>(), [(2, 4), (6, 1)]);
}
