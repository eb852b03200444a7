//! What stands around the sources: dependencies, the top level, what README promises, names that do not belong into a repository.
//!
//! Gets: `cargo tree`, tracked files, README. Gives: what a stranger would stumble over.
//! Never: the network.

use std::process::Command;

use super::source::{root, tracked};

/// All that may stand at the top.
const TOP: [&str; 15] = [
    ".ci",
    ".dockerignore",
    ".gitignore",
    ".rustfmt.toml",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "SECURITY.md",
    "deploy",
    "docker-compose.yml",
    "gateway",
    "helm",
    "tests",
];

#[test]
fn there_is_one_tls_library() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output =
        Command::new(cargo).args(["tree", "--workspace", "-e", "normal", "--prefix", "none", "--locked", "--offline"]).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8_lossy(&output.stdout);
    let mut names: Vec<(&str, &str)> =
        tree.lines().filter_map(|line| line.split_once(' ')).map(|(name, rest)| (name, rest.split(' ').next().unwrap_or_default())).collect();
    names.sort_unstable();
    names.dedup();
    let versions = |wanted: &str| names.iter().filter(|(name, _)| *name == wanted).count();
    assert_eq!(versions("rustls"), 1, "exactly one rustls");
    for unwanted in ["openssl", "openssl-sys", "native-tls", "ring", "serde_yml", "rustls-pemfile", "bincode"] {
        assert_eq!(versions(unwanted), 0, "{unwanted} is in the tree");
    }
}

#[test]
fn the_top_level_holds_nothing_else() {
    let mut strange: Vec<String> =
        tracked().iter().map(|path| path.split('/').next().unwrap_or_default().to_owned()).filter(|name| !TOP.contains(&name.as_str())).collect();
    strange.dedup();
    assert!(strange.is_empty(), "{strange:?}");
    for needed in ["README.md", "LICENSE", "CHANGELOG.md", "SECURITY.md", "gateway/ARCHITECTURE.md", ".ci/run", "tests/run"] {
        assert!(root().join(needed).is_file(), "{needed} is missing");
    }
}

#[test]
fn no_registry_and_no_machine_is_named() {
    // In halves, so that this file does not find itself.
    let words: Vec<String> = [
        ("index.crates", ".io"),
        ("static.crates", ".io"),
        ("pypi", ".org"),
        ("files.python", "hosted"),
        ("registry.npm", "js"),
        ("deb.deb", "ian.org"),
        ("proxy.gol", "ang.org"),
        ("/wo", "rk/"),
        ("/fa", "rm/"),
    ]
    .map(|(a, b)| format!("{a}{b}"))
    .into();
    let mut wrong = Vec::new();
    for path in tracked().into_iter().filter(|path| !path.ends_with("Cargo.lock")) {
        let Ok(text) = std::fs::read_to_string(root().join(&path)) else { continue };
        for (number, line) in text.lines().enumerate() {
            wrong.extend(words.iter().filter(|word| line.contains(word.as_str())).map(|word| format!("{path}:{}: {word}", number + 1)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_path_of_this_machine_is_in_the_tree() {
    let here = root().display().to_string();
    let named: Vec<_> = tracked().into_iter().filter(|path| std::fs::read_to_string(root().join(path)).is_ok_and(|text| text.contains(&here))).collect();
    assert!(named.is_empty(), "{named:?}");
}

#[test]
fn the_commands_of_readme_exist() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let help = Command::new(env!("CARGO_BIN_EXE_ftps-gateway")).arg("--help").output().unwrap();
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let mut seen = 0;
    for line in readme.lines() {
        for (_, rest) in line.match_indices("ftps-gateway ").map(|(at, word)| (at, &line[at + word.len()..])) {
            let word: String = rest.chars().take_while(|char| char.is_ascii_lowercase() || *char == '-').collect();
            if word.is_empty() || word.starts_with('-') || !line.contains(&format!("`ftps-gateway {word}")) && !line.starts_with("ftps-gateway ") {
                continue;
            }
            assert!(help.lines().any(|line| line.trim_start().starts_with(&word)), "README names `ftps-gateway {word}`:\n{help}");
            seen += 1;
        }
    }
    assert!(seen >= 5, "README shows the commands");
    for needed in ["cargo run --release", "tests/run", "curl ", "lftp "] {
        assert!(readme.contains(needed), "README shows {needed:?}");
    }
}

#[test]
fn links_in_the_documents_lead_somewhere() {
    let mut wrong = Vec::new();
    for path in tracked().into_iter().filter(|path| path.ends_with(".md")) {
        let text = std::fs::read_to_string(root().join(&path)).unwrap();
        for (at, _) in text.match_indices("](") {
            let target: String = text[at + 2..].chars().take_while(|char| !matches!(char, ')' | '#' | '\n')).collect();
            let outside = target.is_empty() || target.contains("://") || target.starts_with("mailto:");
            if !outside && !root().join(&path).parent().unwrap().join(&target).exists() {
                wrong.push(format!("{path}: {target}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
