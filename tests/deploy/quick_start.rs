//! The quick start: one command, and the printed lines work as they stand.
//!
//! Gets: the banner of a node without configuration. Gives: a file on disk, put there by the printed curl line.
//! Never: a line that was edited, or ports that another may have (but for those given as flags).

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::kit::{self, Run, Tree, binary, contents};
use crate::need;

#[test]
fn the_printed_curl_and_lftp_lines_work_as_they_stand() {
    need!("curl", "lftp");
    kit::test(90, || {
        let tree = Tree::new();
        let node = QuickStart::begin(&tree, &[]);
        let banner = node.banner();
        assert!(tree.join("ftp-data").is_dir(), "./ftp-data is made: {banner}");
        for program in ["curl", "lftp"] {
            let line = node.line(program);
            let output = Run::new("bash", ["-c", &line]).at(tree.path()).run();
            assert_eq!(output.code, Some(0), "{line}\n{}\n{}", output.text(), output.stderr);
            if program == "curl" {
                assert!(!contents(&tree.join("ftp-data")).is_empty(), "`{line}` leaves a file");
            }
        }
    });
}

#[test]
fn the_banner_says_what_a_person_needs() {
    kit::test(60, || {
        let tree = Tree::new();
        let node = QuickStart::begin(&tree, &["--user", "alice:wonderland-42"]);
        let banner = node.banner();
        assert!(banner.contains("alice") && banner.contains("wonderland-42"), "{banner}");
        let hex = |word: &str| word.len() >= 64 && word.chars().all(|char| char.is_ascii_hexdigit() || char == ':');
        assert!(banner.split_whitespace().any(hex), "the certificate's SHA-256 fingerprint: {banner}");
        assert!(banner.contains("127.0.0.1:"), "the addresses: {banner}");
    });
}

#[test]
fn two_quick_starts_have_different_passwords() {
    kit::test(60, || {
        let trees = [Tree::new(), Tree::new()];
        let lines: Vec<String> = trees.iter().map(|tree| QuickStart::begin(tree, &[]).line("curl")).collect();
        let password = |line: &str| line.split_whitespace().find(|word| word.contains("demo:")).map(|word| word.trim_matches(['\'', '"']).to_owned());
        assert!(password(&lines[0]).is_some(), "{lines:?}");
        assert_ne!(password(&lines[0]), password(&lines[1]));
    });
}

#[test]
fn ctrl_c_ends_at_once() {
    kit::test(60, || {
        let tree = Tree::new();
        let mut node = QuickStart::begin(&tree, &[]);
        let pid = rustix::process::Pid::from_child(&node.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let mut code = None;
        kit::eventually(5, "it ends", || {
            code = node.child.try_wait().unwrap();
            code.is_some()
        });
        assert_eq!(code.and_then(|status| status.code()), Some(0));
    });
}

/// What was cut is said, also when the client does not go away by itself.
#[test]
fn ctrl_c_says_what_it_cut() {
    need!("curl");
    kit::test(60, || {
        let tree = Tree::new();
        let mut node = QuickStart::begin(&tree, &[]);
        let line = node.line("curl").replace("echo hello", "(echo hello; sleep 8)");
        let mut upload = Command::new("bash").args(["-c", &line]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        kit::eventually(20, "it logs in", || node.banner().contains("logged in"));
        // The upload begins a few round trips later, which the log at its usual level does not say.
        std::thread::sleep(std::time::Duration::from_secs(1));
        let pid = rustix::process::Pid::from_child(&node.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        kit::eventually(5, "it ends", || node.child.try_wait().unwrap().is_some());
        kit::eventually(5, "both ends are said", || ["transfer ended", "session closed"].iter().all(|end| node.banner().contains(end)));
        assert!(contents(&tree.join("ftp-data")).is_empty(), "{:?}", contents(&tree.join("ftp-data")));
        let _ = upload.kill();
        let _ = upload.wait();
    });
}

/// A node without configuration, on ports of the kernel's choice.
struct QuickStart {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl QuickStart {
    fn begin(tree: &Tree, more: &[&str]) -> Self {
        let mut command = Command::new(binary());
        command.args(["--listen", "127.0.0.1:0", "--implicit", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data-ports", "0/8"]).args(more);
        command.current_dir(tree.path()).env_remove("FTPS_GATEWAY_CONFIG").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        for stream in [Box::new(stdout) as Box<dyn std::io::Read + Send>, Box::new(stderr)] {
            let lines = lines.clone();
            std::thread::spawn(move || BufReader::new(stream).lines().map_while(Result::ok).for_each(|line| lines.lock().unwrap().push(line)));
        }
        let mut node = Self { child, lines };
        kit::eventually(30, "the banner with a curl and an lftp line", || {
            assert!(node.child.try_wait().unwrap().is_none(), "it ended: {}", node.banner());
            node.find("curl").is_some() && node.find("lftp").is_some()
        });
        // The banner may stand before the sockets serve: the ready line comes last.
        kit::eventually(30, "it is ready", || node.banner().to_lowercase().contains("ready"));
        node
    }

    fn banner(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    fn find(&self, program: &str) -> Option<String> {
        let lines = self.lines.lock().unwrap();
        // A line to paste: the program begins it, alone or behind a pipe.
        let shown = |line: &&String| line.trim_start().starts_with(&format!("{program} ")) || line.contains(&format!("| {program} "));
        lines.iter().find(shown).map(|line| line.trim().to_owned())
    }

    fn line(&self, program: &str) -> String {
        self.find(program).unwrap_or_else(|| panic!("no line for {program}: {}", self.banner()))
    }
}

impl Drop for QuickStart {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
