//! Programs that move a tree in one session: `up/0.bin` and so on to the root of a node or cluster, and from there to `down`.
//!
//! Gets: an entrance, a tree with `up` and an empty `down`. Gives: nothing but files; whoever asks compares them. `false`: the program is not here.
//! Never: tries a transfer twice.

use std::path::{Path, PathBuf};

use super::{Entrance, PASSWORD, Run, Tree, USER, Version, have};

/// curl, one transfer after the other.
pub fn curl(node: &impl Entrance, local: &Tree, version: Version, files: usize) -> bool {
    let tls: &[&str] = if version == Version::Tls12 { &["--tls-max", "1.2"] } else { &["--tlsv1.3"] };
    let last = files - 1;
    let run = |arguments: &[&str], path: &str| {
        super::curl(node, false, &[tls, &["--fail-early"], arguments].concat(), path).at(local.path()).seconds(200).run().ok();
    };
    run(&["-T", &format!("up/[0-{last}].bin")], "/");
    run(&["-o", "down/#1.bin"], &format!("/[0-{last}].bin"));
    have("curl")
}

/// lftp mirror, one after the other.
pub fn lftp(node: &impl Entrance, local: &Tree, version: Version, _files: usize) -> bool {
    let script = format!("set ssl:priority NORMAL:-VERS-ALL:+VERS-TLS{}; mirror -R up /; mirror / down; quit", word(version));
    super::lftp(node, false, &script).at(local.path()).seconds(200).run().ok();
    true
}

/// rclone, one transfer at once.
pub fn rclone(node: &impl Entrance, local: &Tree, version: Version, _files: usize) -> bool {
    let tls: &[&str] = if version == Version::Tls12 { &["--ftp-disable-tls13"] } else { &[] };
    let run = |arguments: &[&str]| super::rclone(node, false, &[tls, &["--transfers", "1"], arguments].concat()).at(local.path()).seconds(200).run().ok();
    run(&["copy", "up", ":ftp:/"]);
    run(&["copy", ":ftp:/", "down"]);
    true
}

/// wget, which only fetches; lftp brings the files.
pub fn wget(node: &impl Entrance, local: &Tree, version: Version, _files: usize) -> bool {
    super::lftp(node, false, "mirror -R up /; quit").at(local.path()).seconds(200).run().ok();
    let secure = if version == Version::Tls12 { "--secure-protocol=TLSv1_2" } else { "--secure-protocol=TLSv1_3" };
    let ca = format!("--ca-certificate={}", node.ca().display());
    let (user, password) = (format!("--ftp-user={USER}"), format!("--ftp-password={PASSWORD}"));
    let url = format!("ftps://{}:{}/", node.host(), node.explicit().port());
    let arguments = ["-nv", "--tries=1", "--timeout=60", "-r", "-nH", "-P", "down", secure, &ca, &user, &password, &url];
    Run::new("wget", arguments).at(local.path()).seconds(200).run().ok();
    true
}

/// Python, showing the control connection's session.
pub fn ftplib(node: &impl Entrance, local: &Tree, version: Version, files: usize) -> bool {
    script(node, local, version, files, "python3", "trees.py", &["reusing"])
}

/// Python as it is, without any session.
pub fn plain_ftplib(node: &impl Entrance, local: &Tree, version: Version, files: usize) -> bool {
    script(node, local, version, files, "python3", "trees.py", &["plain"])
}

/// Perl, without any session.
pub fn net_ftp(node: &impl Entrance, local: &Tree, version: Version, files: usize) -> bool {
    script(node, local, version, files, "perl", "trees.pl", &[])
}

/// Node's basic-ftp.
pub fn basic_ftp(node: &impl Entrance, local: &Tree, version: Version, files: usize) -> bool {
    library("node/node_modules/basic-ftp").is_dir() && script(node, local, version, files, "node", "trees.js", &[])
}

fn script(node: &impl Entrance, local: &Tree, version: Version, files: usize, program: &str, file: &str, more: &[&str]) -> bool {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/kit").join(file).display().to_string();
    let (host, port, ca) = (node.host(), node.explicit().port().to_string(), node.ca().display().to_string());
    let (directory, count) = (local.path().display().to_string(), files.to_string());
    let told = [path.as_str(), &host, &port, &ca, USER, PASSWORD, word(version), &directory, &count];
    let run = Run::new(program, told.into_iter().chain(more.iter().copied())).env("NODE_PATH", &library("node/node_modules").display().to_string());
    let output = run.seconds(200).run().ok();
    assert_eq!(output.text().trim(), "ok", "{program} {file}");
    true
}

/// What `tests/run` has fetched.
fn library(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools").join(name)
}

fn word(version: Version) -> &'static str {
    if version == Version::Tls12 { "1.2" } else { "1.3" }
}
