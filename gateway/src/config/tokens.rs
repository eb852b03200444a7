//! The tokens file: YAML → located tree → `admin::access::Tokens`.
//!
//! Gets: the file of `admin.tokens_file`. Gives: tokens and certificates, or everything that is wrong. One broken entry spoils the file: a forgotten expiry
//! must not leave a door open. Never: shows a token.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::forms::{self, Fault, list, scalar};
use super::problem::{Checked, Problem, Wrong};
use super::rules::Fields;
use super::tree::{Kind, Node};
use super::{located, open};
use crate::admin::access::{NamedCertificate, Scope, Token, Tokens};
use crate::auth::{CertificateName, parse_expiry};

/// Reads the tokens file; none: nobody may.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load_tokens(path: Option<&Path>) -> Result<Tokens, Vec<Problem>> {
    let Some(path) = path else { return Ok(Tokens::default()) };
    let variable = |name: &str| std::env::var(name).ok();
    let mut problems = Vec::new();
    let Some((_, document)) = open(path, &variable, &mut problems) else { return Err(problems) };
    match tokens(&document, super::directory(path)) {
        Ok(tokens) if problems.is_empty() => Ok(tokens),
        Ok(_) => Err(problems),
        Err(wrongs) => {
            problems.extend(wrongs.into_iter().map(|wrong| located(path, "", wrong)));
            Err(problems)
        }
    }
}

/// The files that a tokens file names.
pub(super) fn token_files(path: &Path) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let named = text.split("token_file:").skip(1).filter_map(|rest| rest.split([',', '}', '\n', '#']).next());
    named.map(|name| super::directory(path).join(name.trim().trim_matches(['"', '\'']))).take(MOST).collect()
}

fn tokens(document: &Node, directory: &Path) -> Checked<Tokens> {
    let mut fields =
        Fields::of(document, &["tokens", "certificates"], "is not a tokens file; write tokens: and, indented below it, one - { name: … } for each")?;
    let tokens = fields.optional("tokens", |node| list(node, "is not a list of tokens", |item| token(item, directory))).unwrap_or_default();
    let certificates = fields.optional("certificates", |node| list(node, "is not a list of certificates", certificate)).unwrap_or_default();
    fields.finish()?;
    let mut names = HashSet::new();
    let all = tokens.iter().map(|token| &token.name).chain(certificates.iter().map(|certificate| &certificate.name));
    if let Some(twin) = all.into_iter().find(|name| !names.insert(name.to_string())) {
        return Err(vec![Wrong::at(document.line, format!("{twin:?} stands twice; the audit names callers by their names: rename one"))]);
    }
    Ok(Tokens { tokens, certificates })
}

fn token(node: &Node, directory: &Path) -> Checked<Token> {
    let known = ["name", "sha256", "token_file", "scopes", "expires", "from"];
    let mut fields = Fields::of(node, &known, "is not a token; `ftps-gateway new-token` prints the line to write")?;
    let name = fields.required("name", name, "write who has it, for the audit");
    let written = fields.optional("sha256", sha256);
    let read = fields.optional("token_file", |node| token_file(node, directory));
    let scopes = fields.required("scopes", scopes, "write what it may do, for example [read]");
    let expires = fields.optional("expires", |node| {
        scalar(node, "is not a date; write 2027-01-01 or 2027-01-01T00:00:00Z", |scalar| parse_expiry(&scalar.text).ok_or(Fault::Form))
    });
    let from = fields.optional("from", forms::networks).unwrap_or_default();
    let both = [fields.has("sha256"), fields.has("token_file")];
    fields.finish()?;
    if both[0] == both[1] {
        return Err(vec![Wrong::at(
            node.line,
            "needs one of sha256: (the hash of the token) and token_file: (a file that holds it); `ftps-gateway new-token` prints one",
        )]);
    }
    match (name, written.or(read), scopes) {
        (Some(name), Some(sha256), Some(scopes)) => Ok(Token { name, sha256, scopes, expires, from }),
        _ => Err(Vec::new()),
    }
}

fn certificate(node: &Node) -> Checked<NamedCertificate> {
    let mut fields = Fields::of(node, &["name", "subject", "scopes"], "is not a certificate; write { name: ops, subject: \"cn:ops\", scopes: [read] }")?;
    let name = fields.required("name", name, "write who has it, for the audit");
    let subject = fields.required("subject", subject, "write cn:NAME, san:NAME, or sha256: and the 64 hex digits of its fingerprint");
    let scopes = fields.required("scopes", scopes, "write what it may do, for example [read]");
    fields.finish()?;
    match (name, subject, scopes) {
        (Some(name), Some(subject), Some(scopes)) => Ok(NamedCertificate { name, subject, scopes }),
        _ => Err(Vec::new()),
    }
}

fn name(node: &Node) -> Checked<Box<str>> {
    scalar(node, "is not a name; write 1 to 64 letters, digits, '-', '_', '.' or '@'", |scalar| {
        let fits = (1..=64).contains(&scalar.text.len()) && scalar.text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.@".contains(&b));
        if fits { Ok(scalar.text.as_str().into()) } else { Err(Fault::Form) }
    })
}

fn subject(node: &Node) -> Checked<CertificateName> {
    scalar(node, "is not the name of a certificate; write cn:NAME, san:NAME, or sha256: and the 64 hex digits of its fingerprint", |scalar| {
        CertificateName::parse(&scalar.text).ok_or(Fault::Form)
    })
}

fn scopes(node: &Node) -> Checked<Vec<Scope>> {
    let scopes = list(node, "is not a list of scopes; write [read]", forms::word(Scope::WORDS))?;
    if scopes.is_empty() {
        Err(vec![Wrong::at(node.line, "is empty, so that the token may do nothing; write [read], or remove the entry")])
    } else {
        Ok(scopes)
    }
}

/// What stands there is not shown: it may be the token itself.
fn sha256(node: &Node) -> Checked<[u8; 32]> {
    const NOT: &str = "is not a hash; write the 64 hex digits that `ftps-gateway new-token` prints, in quotes";
    let wrong = || vec![Wrong::at(node.line, NOT)];
    let super::tree::Value::Scalar(text) = &node.value else { return Err(wrong()) };
    let digest = (text.kind == Kind::Text).then(|| CertificateName::parse(&format!("sha256:{}", text.text))).flatten();
    match digest {
        Some(CertificateName::Sha256(digest)) => Ok(digest),
        _ => Err(wrong()),
    }
}

fn token_file(node: &Node, directory: &Path) -> Checked<[u8; 32]> {
    let path = directory.join(forms::path(node)?);
    let wrong = |words: String| vec![Wrong::at(node.line, words)];
    let text = std::fs::read_to_string(&path);
    let text =
        text.map_err(|error| wrong(format!("{} cannot be read ({}); name a file that holds the token", path.display(), super::problem::reason(&error))))?;
    let token = text.trim();
    if token.len() < SHORTEST || token.len() > LONGEST || token.contains(char::is_whitespace) {
        return Err(wrong(format!("{} does not hold one word of {SHORTEST} to {LONGEST} letters; `ftps-gateway new-token` prints a good one", path.display())));
    }
    Ok(Token::digest(token))
}

/// Letters of a token in a file: shorter ones can be guessed.
const SHORTEST: usize = 16;
const LONGEST: usize = 512;
/// Files that are watched.
const MOST: usize = 256;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn read(text: &str) -> Checked<Tokens> {
        tokens(&super::super::tree::parse(text).unwrap(), Path::new("/nonexistent"))
    }

    #[test]
    fn a_tokens_file_is_read() {
        let hash = "a".repeat(64);
        let text = format!(
            "tokens:\n  - {{ name: alice, sha256: \"{hash}\", scopes: [read, bans], expires: 2027-01-01T00:00:00Z, from: [\"10.0.0.0/8\"] }}\n\
             certificates:\n  - {{ name: ops, subject: \"cn:ops\", scopes: [admin] }}\n"
        );
        let tokens = read(&text).unwrap();
        let alice = &tokens.tokens[0];
        assert_eq!((alice.sha256, alice.scopes.as_slice(), alice.from.len()), ([0xaa; 32], &[Scope::Read, Scope::Bans][..], 1));
        assert_eq!(tokens.certificates[0].subject, CertificateName::CommonName("ops".into()));
    }

    #[test]
    fn one_wrong_entry_spoils_the_file_and_shows_nothing() {
        let hash = "b".repeat(64);
        for (entry, words) in [
            ("{ name: a, scopes: [read] }".to_owned(), "needs one of sha256"),
            ("{ name: a, sha256: hunter2hunter2, scopes: [read] }".to_owned(), "is not a hash"),
            (format!("{{ name: a, sha256: \"{hash}\", scopes: [] }}"), "may do nothing"),
            (format!("{{ name: a, sha256: \"{hash}\", scopes: [reed] }}"), "did you mean read?"),
            (format!("{{ name: a, sha256: \"{hash}\", scopes: [read], expire: 2027-01-01 }}"), "did you mean expires?"),
            ("{ name: a, token_file: absent, scopes: [read] }".to_owned(), "cannot be read"),
            (format!("{{ name: a, sha256: \"{hash}\", scopes: [read] }}\n  - {{ name: a, sha256: \"{hash}\", scopes: [read] }}"), "stands twice"),
        ] {
            let said = format!("{:?}", read(&format!("tokens:\n  - {entry}\n")).unwrap_err());
            assert!(said.contains(words) && !said.contains("hunter2"), "{entry}: {said}");
        }
    }
}
