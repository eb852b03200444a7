//! The secret file: one secret of the cluster a line.
//!
//! Gets: a path. Gives: secrets, in the order of the lines. Never: shows a line, in an error or anywhere else.

use std::path::Path;

use ftps_store::seal::Secrets;
use zeroize::Zeroizing;

/// Reads a secret file. Empty lines do not count.
///
/// # Errors
/// What is wrong with it, and what to do.
pub fn read_secrets(path: &Path) -> Result<Secrets, String> {
    let shown = path.display();
    let bytes = std::fs::read(path).map_err(|error| format!("cluster.secret_file: {shown} cannot be read: {error}"))?;
    let bytes = Zeroizing::new(bytes);
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()).collect();
    Secrets::new(&lines).map_err(|error| format!("cluster.secret_file: {shown}: {error}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn each_line_is_a_secret_and_none_is_shown() {
        let path = std::env::temp_dir().join(format!("ftps-gateway-secrets-{}", std::process::id()));
        let (one, two) = ("a".repeat(32), "b".repeat(64));
        std::fs::write(&path, format!("{one}\r\n\n{two}\n")).unwrap();
        assert_eq!(read_secrets(&path).unwrap().derive_all(&[b"x"]).len(), 2);
        std::fs::write(&path, "short-secret\n").unwrap();
        let error = read_secrets(&path).unwrap_err();
        assert!(error.contains("openssl rand") && !error.contains("short-secret"), "{error}");
        std::fs::remove_file(&path).unwrap();
        assert!(read_secrets(&path).unwrap_err().contains("cannot be read"));
    }
}
