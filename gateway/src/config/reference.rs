//! The reference of all keys, written from the tables that the readers use.
//!
//! Gets: `keys::KEYS` and `keys::USER_KEYS`. Gives: `deploy/docs/configuration.md`, which a test compares (`BLESS=1` writes it anew).
//! Never: says anything that the tables do not.

use std::fmt::Write as _;

use super::keys::{Acts, Default, KEYS, Key, USER_KEYS};

/// The whole document.
fn reference() -> String {
    let mut text = String::from(HEAD);
    let mut section = "";
    for key in KEYS {
        let of = key.name.split('.').next().unwrap_or(key.name);
        if of != section {
            section = of;
            let _ = write!(text, "\n## {section}\n\n{COLUMNS}");
        }
        text.push_str(&row(key));
    }
    let _ = write!(text, "\n## A user of a users file\n\n{USERS}\n{COLUMNS}");
    USER_KEYS.iter().for_each(|key| text.push_str(&row(key)));
    text
}

fn row(key: &Key) -> String {
    let default = match key.default {
        Default::Yaml(yaml) => format!("`{}`", yaml.replace('|', "\\|")),
        Default::Found(words) => words.to_owned(),
        Default::Required => "none: must be written".to_owned(),
    };
    let acts = match key.acts {
        Acts::Now => "now",
        Acts::NewSessions => "new sessions",
        Acts::Restart => "restart",
    };
    format!("| `{}` | {} | {default} | {acts} | {} |\n", key.name, key.form.replace('|', "\\|"), key.meaning.replace('|', "\\|"))
}

const HEAD: &str = "\
# Configuration: all keys

Written by a test from the tables that the program itself reads (`BLESS=1 tests/run unit` writes it anew). An example with every key at its default is
`deploy/examples/gateway.yaml`, one of users `deploy/examples/users.yaml`; `ftps-gateway check-config FILE` names everything that is wrong with yours.

**Forms.** Durations are written `200ms`, `30s`, `5m`, `1h`, `6d`; sizes `512`, `8KiB`, `16MiB`; addresses `127.0.0.1:2121` or `\"[::]:2121\"`; networks
`10.0.0.0/8`. Relative paths are relative to the file they stand in. `${NAME}` and `${file:PATH}` inside a value are replaced by an environment variable or by the
contents of a file; `$${` is a literal `${`.

**Reload.** SIGHUP reads everything again, and so does a change of any file that the configuration stands on: itself, users files, certificates, keys, authorities,
lists of revoked certificates, files named by `${file:}`. Files are looked at every 2 seconds, and read every 10 seconds whatever their dates say, so that a
link that Kubernetes swaps above them is seen. A reload is all or nothing: with one thing wrong the node goes on as it was, says every problem in its log, and
sets `ftps_gateway_config_last_reload_successful` to 0. The column *acts* says when a changed key acts: *now*, for *new sessions*, or at the next *restart* (a
warning names these keys until then).
";
const USERS: &str = "\
A change of the password, of the certificates or of the home, fewer permissions, `enabled: false` and the removal of a user end the user's sessions with 421 at
the reload.
";
const COLUMNS: &str = "| key | form | default | acts | meaning |\n|---|---|---|---|---|\n";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn the_reference_is_what_the_tables_say() {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/docs/configuration.md");
        if std::env::var_os("BLESS").is_some() {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, reference()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&file).unwrap_or_default(), reference(), "run with BLESS=1 and look at the difference");
    }

    #[test]
    fn every_key_has_a_row_of_five_cells() {
        let text = reference();
        for key in KEYS.iter().chain(USER_KEYS) {
            let row = text.lines().find(|line| line.starts_with(&format!("| `{}` |", key.name))).unwrap_or_else(|| panic!("{}", key.name));
            assert_eq!(row.replace("\\|", "").matches('|').count(), 6, "{row}");
        }
    }
}
