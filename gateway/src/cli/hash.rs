//! `hash-password`: a password becomes a line for a users file.
//!
//! Gets: a password, from a hidden prompt when a person types, else the first line of stdin. Gives: its PHC string.
//! Never: shows the password, or takes it as an argument that other users of the host could see.

use std::io::{BufRead, IsTerminal};

use ftps_proto::command::Password;

use super::{DONE, FAULT, USAGE, complain, print};
use crate::auth::make_hash;

pub(super) fn run() -> u8 {
    let password = match read() {
        Ok(password) => password,
        Err(message) => {
            complain(&message);
            return USAGE;
        }
    };
    match make_hash(&password) {
        Ok(hash) => {
            print(&format!("{hash}\n"));
            DONE
        }
        Err(error) => {
            complain(&format!("the password cannot be hashed ({error}); look at the limits on memory"));
            FAULT
        }
    }
}

fn read() -> Result<Password, String> {
    let stdin = std::io::stdin();
    let text = if stdin.is_terminal() { prompt()? } else { first_line(stdin.lock())? };
    checked(&text)
}

fn prompt() -> Result<Vec<u8>, String> {
    let ask = |words| rpassword::prompt_password(words).map_err(|error| format!("the password cannot be read ({error}); pipe it in"));
    let (first, second) = (ask("Password: ")?, ask("Again: ")?);
    if first == second { Ok(first.into_bytes()) } else { Err("the two passwords differ; try again".into()) }
}

/// The first line without its end.
fn first_line(input: impl BufRead) -> Result<Vec<u8>, String> {
    let mut line = Vec::new();
    let mut input = input.take(Password::MAX as u64 + 3);
    input.read_until(b'\n', &mut line).map_err(|error| format!("the password cannot be read ({error}); pipe it in"))?;
    let line = line.strip_suffix(b"\n").unwrap_or(&line);
    Ok(line.strip_suffix(b"\r").unwrap_or(line).to_vec())
}

fn checked(text: &[u8]) -> Result<Password, String> {
    if text.is_empty() {
        return Err("the password is empty; write one on the first line of stdin".into());
    }
    // FTP commands are lines.
    if text.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n')) {
        return Err("the password has a byte that no FTP client can send; write one without NUL and line ends".into());
    }
    Password::new(text).ok_or_else(|| format!("the password is longer than {} bytes; write a shorter one", Password::MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn the_first_line_is_the_password() {
        for (input, password) in [("secret", "secret"), ("secret\n", "secret"), ("se cret \r\nmore\n", "se cret ")] {
            assert_eq!(first_line(input.as_bytes()).unwrap(), password.as_bytes());
        }
    }

    #[test]
    fn a_password_that_no_client_can_send_is_refused() {
        assert!(checked(b"x").is_ok() && checked(&[b'x'; Password::MAX]).is_ok());
        for text in [&b""[..], b"a\0b", b"a\rb", &[b'x'; Password::MAX + 1]] {
            assert!(checked(text).is_err());
        }
        assert!(checked(&first_line(&[b'x'; 5000][..]).unwrap()).is_err());
    }
}
