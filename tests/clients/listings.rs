//! Directories of 100,000 names: the first byte comes soon, memory stays flat, no name is lost or doubled; what old clients write behind LIST; patterns.
//!
//! Gets: directories made on the disk. Gives: lines counted, and the node's proportional share of memory from `/proc`.
//! Never: a time that is asserted, except that the first byte comes before the last name can have been looked at.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use super::wire::{get, list};
use crate::kit::{self, Client, Node, Options, Tree};

#[test]
fn a_hundred_thousand_names_need_no_memory() {
    kit::test(180, || {
        let node = Node::with(Options { root: Some(large().path().to_owned()), ..Options::default() });
        let mut client = Client::ready(&node);
        // Warm: code, buffers, the thread pool.
        assert_eq!(list(&mut client, "NLST", b"few").len(), 4);
        let before = node.pss_kib();
        for (command, lines) in [("LIST many", MANY), ("NLST many", MANY), ("MLSD many", MANY + 1)] {
            let (names, highest) = stream(&node, &mut client, command);
            assert_eq!(names.len(), lines, "{command}: no name is lost or doubled");
            // All entries and the text of such a listing would be 15 MB and more; what is held of it is one buffer. The rest is the first use of threads and
            // code, 3 to 7 MiB as seen on busy machines.
            assert!(highest < before + 10 * 1024, "{command}: {before} KiB before, {highest} KiB while it ran");
        }
    });
}

#[test]
fn a_listing_is_sent_while_the_directory_is_read() {
    kit::test(60, || {
        let node = Node::with(Options { root: Some(large().path().to_owned()), ..Options::default() });
        let mut client = Client::ready(&node);
        // A client that reads one piece and ends: the server never had the rest.
        for command in ["MLSD many", "LIST many", "NLST many"] {
            let mut data = client.begin(command);
            data.handshake().unwrap();
            assert!(!data.read_some().unwrap().is_empty());
            data.reset();
            client.expect_one_of(&[426, 226]);
        }
        client.command("NOOP").is(200);
    });
}

#[test]
fn a_listing_can_be_aborted() {
    kit::test(60, || {
        let node = Node::with(Options { root: Some(large().path().to_owned()), ..Options::default() });
        let mut client = Client::ready(&node);
        let mut data = client.begin("MLSD many");
        data.handshake().unwrap();
        assert!(!data.read_some().unwrap().is_empty());
        client.line("ABOR");
        let first = client.expect_one_of(&[426, 226]);
        client.expect(226);
        assert!(first.code == 226 || first.code == 426);
        assert_eq!(list(&mut client, "NLST", b"few").len(), 4);
    });
}

#[test]
fn patterns_look_at_no_more_names_than_their_budget() {
    kit::test(60, || {
        let node = Node::with(Options { root: Some(large().path().to_owned()), ..Options::default() });
        let mut client = Client::ready(&node);
        assert_eq!(list(&mut client, "NLST", b"many/*99999").len(), 1);
        assert_eq!(list(&mut client, "NLST", b"many/name-0000?").len(), 10);
        // A pattern that would cost a backtracking matcher more than the age of the universe.
        let bomb = [b"many/".as_slice(), &b"*n".repeat(40), b"*x"].concat();
        assert!(list_or_nothing(&mut client, &bomb).is_empty());
        client.command("NOOP").is(200);
    });
}

#[test]
fn patterns_act_in_the_last_component_only() {
    kit::test(60, || {
        let node = Node::with(Options { root: Some(large().path().to_owned()), ..Options::default() });
        let mut client = Client::ready(&node);
        assert_eq!(names(&mut client, "NLST", "few/*"), ["one.txt", "three", "two.txt"]);
        assert_eq!(names(&mut client, "NLST", "few/*.txt"), ["one.txt", "two.txt"]);
        assert_eq!(names(&mut client, "NLST", "few/t*"), ["three", "two.txt"]);
        assert_eq!(names(&mut client, "NLST", "few/.h*"), [".hidden"]);
        assert_eq!(names(&mut client, "LIST", "few/???.*"), ["one.txt", "two.txt"]);
        // Nothing is expanded before the last slash: `f*` is a name there, and nobody has it.
        assert_eq!(get(&mut client, "NLST", b"f*/one.txt").unwrap_err().code, 550);
    });
}

#[test]
fn options_of_ls_mean_what_old_clients_mean() {
    kit::test(60, || {
        let node = Node::with(Options { root: Some(large().path().to_owned()), ..Options::default() });
        let mut client = Client::ready(&node);
        let all = [".hidden", "one.txt", "three", "two.txt"];
        client.command("CWD few").is(250);
        for argument in ["", "-l", "-L", "-F", "-lt", "-lS", "-l -n", "."] {
            assert_eq!(names(&mut client, "LIST", argument), all[1..], "LIST {argument}");
        }
        for argument in ["-a", "-la", "-al", "-A", "-alF", "-l -a", "-la .", "-a /few", "-LlaR"] {
            assert_eq!(names(&mut client, "LIST", argument), all, "LIST {argument}");
        }
        assert_eq!(names(&mut client, "LIST", "-la one.txt"), ["one.txt"]);
        assert_eq!(names(&mut client, "LIST", "-d three"), ["three"]);
        assert!(list(&mut client, "NLST", b"-l").iter().all(|line| line.len() > 50), "NLST -l is LIST");
        assert_eq!(names(&mut client, "LIST", "-- one.txt"), ["one.txt"]);
    });
}

/// The last words of the lines, sorted. No name here has a blank.
fn names(client: &mut Client, verb: &str, argument: &str) -> Vec<String> {
    let text = list(client, verb, argument.as_bytes());
    let last = |line: &Vec<u8>| line.rsplit(|byte| matches!(byte, b' ' | b'/')).next().map(|name| String::from_utf8_lossy(name).into_owned());
    let mut names: Vec<String> = text.iter().filter_map(last).collect();
    names.sort();
    names
}

fn list_or_nothing(client: &mut Client, pattern: &[u8]) -> Vec<u8> {
    get(client, "NLST", pattern).unwrap_or_default()
}

/// The lines of a listing, and the highest share of memory while they came.
fn stream(node: &Node, client: &mut Client, command: &str) -> (BTreeSet<Vec<u8>>, u64) {
    let mut data = client.begin(command);
    data.handshake().unwrap();
    let (mut text, mut highest, mut read) = (Vec::new(), 0, 0);
    loop {
        let bytes = data.read_some().unwrap();
        if bytes.is_empty() {
            break;
        }
        text.extend(bytes);
        read += 1;
        if read % 32 == 1 {
            highest = highest.max(node.pss_kib());
        }
    }
    data.finish();
    client.expect(226);
    (text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect(), highest)
}

/// One large directory for all tests of this file; they only read it.
fn large() -> &'static Tree {
    static MADE: OnceLock<Tree> = OnceLock::new();
    MADE.get_or_init(|| {
        let tree = Tree::new();
        std::fs::create_dir(tree.join("many")).unwrap();
        for index in 0..MANY {
            std::fs::File::create(tree.join(&format!("many/name-{index:05}"))).unwrap();
        }
        for name in ["one.txt", "two.txt", "three", ".hidden"] {
            tree.write(&format!("few/{name}"), b"x");
        }
        tree
    })
}

const MANY: usize = 100_000;
