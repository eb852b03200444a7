//! `new-token`: a token for the admin API, and its line for the tokens file.
//!
//! Gets: a name and scopes. Gives: 256 random bits as text, which nobody but the reader ever sees again, and the line with their hash.
//! Never: keeps the token.

use super::{DONE, FAULT, NewToken, complain, print};
use crate::admin::access::{Scope, Token};

/// A token, and what the node keeps of it.
pub(super) struct Made {
    pub(super) secret: String,
    pub(super) entry: Token,
}

/// Makes one; `None`: the system gives no random bytes.
pub(super) fn new_token(name: &str, scopes: Vec<Scope>) -> Option<Made> {
    let mut random = [0_u8; 32];
    aws_lc_rs::rand::fill(&mut random).ok()?;
    let secret = format!("fgt_{}", hex(&random));
    let entry = Token { name: name.into(), sha256: Token::digest(&secret), scopes, expires: None, from: Vec::new() };
    Some(Made { secret, entry })
}

pub(super) fn run(wanted: &NewToken) -> u8 {
    let scopes: Vec<Scope> = wanted.scopes.iter().map(|scope| scope.0).collect();
    let Some(Made { secret, entry }) = new_token(&wanted.name, scopes) else {
        complain("the system gives no random bytes; look at /dev/urandom and the sandbox");
        return FAULT;
    };
    let words = entry.scopes.iter().map(|scope| scope.word()).collect::<Vec<_>>().join(", ");
    print(&format!(
        "Token, shown only now:\n\n    {secret}\n\nLine for admin.tokens_file, below tokens:\n\n  - {{ name: {}, sha256: \"{}\", scopes: [{words}] }}\n",
        entry.name,
        hex(&entry.sha256)
    ));
    DONE
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_token_is_random_and_known_by_its_hash() {
        let (one, two) = (new_token("a", vec![Scope::Read]).unwrap(), new_token("a", vec![Scope::Read]).unwrap());
        assert_ne!(one.secret, two.secret);
        assert_eq!((one.secret.len(), one.entry.sha256), (68, Token::digest(&one.secret)));
    }
}
