//! What is wrong with a file, in words that say what to write instead.
//!
//! Gets: found by every part of `config`. Gives: one line for each problem, in the order of the file, and a count.
//! Never: holds a secret: an expanded value is shown as it stands in the file, a password not at all.

use std::fmt;
use std::path::PathBuf;

/// One thing that is wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, as it was named.
    pub file: PathBuf,
    /// The line, from 1; `None` when the file as a whole is meant.
    pub line: Option<usize>,
    /// The key with dots, as `limits.idle_timeout` or `users[2].home`; empty when no key is meant.
    pub key: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

/// All that is wrong; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// The problems, sorted by file and line; `None` when there are none.
    pub fn of(mut problems: Vec<Problem>) -> Option<Self> {
        problems.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
        (!problems.is_empty()).then_some(Self(problems))
    }

    /// The single problems.
    pub fn as_slice(&self) -> &[Problem] {
        &self.0
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        if !self.key.is_empty() {
            write!(f, " {}:", self.key)?;
        }
        write!(f, " {}", self.message)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.0 {
            writeln!(f, "{problem}")?;
        }
        match self.0.len() {
            1 => write!(f, "1 problem"),
            count => write!(f, "{count} problems"),
        }
    }
}

impl std::error::Error for Problems {}

/// What is wrong with one value, before it is known in which file and under which key it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// The line.
    pub(super) line: usize,
    /// Where below the key: `[2]`, `[1].cert`, `.10.0.0.0/8`; mostly empty.
    pub(super) below: String,
    /// What is wrong and what to write.
    pub(super) message: String,
}

impl Wrong {
    pub(super) fn at(line: usize, message: impl Into<String>) -> Self {
        Self { line, below: String::new(), message: message.into() }
    }

    /// The same, one level further from the value.
    pub(super) fn under(mut self, part: &str) -> Self {
        self.below.insert_str(0, part);
        self
    }
}

/// A checked value, or everything that is wrong with it. An empty list: already said elsewhere.
pub(super) type Checked<T> = Result<T, Vec<Wrong>>;

/// The system's words without its number.
pub(super) fn reason(error: &std::io::Error) -> String {
    let words = error.to_string();
    words.split(" (os error").next().unwrap_or_default().to_lowercase()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn one_line_for_each_problem_in_the_order_of_the_file() {
        let problem = |line, key: &str| Problem { file: "g.yaml".into(), line, key: key.into(), message: "no".into() };
        let problems = Problems::of(vec![problem(Some(9), "b.c"), problem(Some(2), "a"), problem(None, "")]).unwrap();
        assert_eq!(problems.to_string(), "g.yaml: no\ng.yaml:2: a: no\ng.yaml:9: b.c: no\n3 problems");
        assert_eq!(Problems::of(Vec::new()), None);
    }
}
