//! Commands whose effect is on the disk: REST, STOU, MFMT, MFF, SITE, AVBL, and EPSV ALL.
//!
//! Gets: a session. Gives: what stat(2) says afterwards, and what the client is told.
//! Never: a refused command with a side effect.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::wire::{get, list, put};
use crate::kit::{self, Client, Data, Node, Options, random_bytes, users_file};

#[test]
fn restart_goes_with_each_way_of_moving_bytes() {
    kit::test(60, || {
        let node = Node::start();
        let mut client = Client::ready(&node);
        let bytes = random_bytes(300_000);
        let file = node.root.join("file");
        std::fs::write(&file, &bytes).unwrap();
        for offset in [0, 1, 65_536, 299_999, 300_000] {
            client.command(&format!("REST {offset}")).is(350);
            kit::same(&get(&mut client, "RETR", b"file").unwrap(), &bytes[offset..], "RETR");
        }
        // An upload that goes on keeps what is before, and nothing of what was behind.
        client.command("REST 100000").is(350);
        put(&mut client, "STOR", b"file", b"tail").is(226);
        kit::same_file(&file, &[&bytes[..100_000], b"tail"].concat(), "REST and STOR");
        put(&mut client, "APPE", b"file", b"more").is(226);
        kit::same_file(&file, &[&bytes[..100_000], b"tailmore"].concat(), "APPE");
        // Beyond the end there is nothing to go on from: the file stays as it is.
        for verb in ["RETR", "STOR"] {
            client.command("REST 999999").is(350);
            assert_eq!(if verb == "RETR" { get(&mut client, verb, b"file").unwrap_err() } else { put(&mut client, verb, b"file", b"x") }.code, 554);
        }
        client.command("REST 5").is(350);
        put(&mut client, "APPE", b"file", b"x").is(503);
        client.command("REST 5").is(350);
        put(&mut client, "STOR", b"no such file", b"x").one_of(&[550, 554]);
        assert!(!node.root.join("no such file").exists());
        assert_eq!(std::fs::metadata(&file).unwrap().len(), 100_008);
    });
}

#[test]
fn store_unique_never_takes_a_name_that_is_taken() {
    kit::test(60, || {
        let node = Node::start();
        std::fs::write(node.root.join("hint"), b"old").unwrap();
        let mut names = Vec::new();
        for command in ["STOU", "STOU", "STOU hint", "STOU hint"] {
            let mut client = Client::ready(&node);
            let mut data = client.dial();
            let opening = client.command(command);
            // RFC 1123 §4.1.2.9: the name stands behind `FILE: ` in the 125 or 150.
            let name = opening.text.strip_prefix("150 FILE: ").unwrap_or_else(|| panic!("{}", opening.text)).to_owned();
            data.handshake().unwrap();
            data.write(command.as_bytes()).unwrap();
            data.finish();
            client.expect(226);
            assert_eq!(get(&mut client, "RETR", name.as_bytes()).unwrap(), command.as_bytes());
            names.push(name);
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 4, "{names:?}");
        assert_eq!(std::fs::read(node.root.join("hint")).unwrap(), b"old");
    });
}

#[test]
fn times_and_modes_are_set_as_told() {
    kit::test(60, || {
        let node = Node::start();
        let file = node.root.join("a file");
        std::fs::write(&file, b"x").unwrap();
        let modified = || std::fs::metadata(&file).unwrap().mtime();
        let mode = || std::fs::metadata(&file).unwrap().permissions().mode() & 0o7777;
        let mut client = Client::ready(&node);
        assert!(client.command("MFMT 20200102030405 a file").text.starts_with("213 Modify=20200102030405; /a file"));
        assert_eq!(modified(), 1_577_934_245);
        assert_eq!(client.command("MDTM a file").text, "213 20200102030405");
        client.command("MFF Modify=20210102030405;UNIX.mode=0600; a file").is(213);
        assert_eq!((modified(), mode()), (1_609_556_645, 0o600));
        client.command("SITE CHMOD 644 a file").is(200);
        assert_eq!(mode(), 0o644);
        client.command("SITE UTIME 20220102030405 a file").is(200);
        assert_eq!(modified(), 1_641_092_645);
        client.command("SITE UTIME a file 20220102030405 20230102030405 20240102030405 UTC").is(200);
        assert_eq!(modified(), 1_672_628_645);
        client.command("MDTM 20240102030405 a file").one_of(&[213, 253]);
        assert_eq!(modified(), 1_704_164_645);
        // Refused as a whole, and nothing is done.
        for command in [
            "MFMT 20201302030405 a file",
            "MFF Modify=20210102030405;UNIX.mode=7777; a file",
            "MFF UNIX.owner=0; a file",
            "SITE CHMOD 4755 a file",
            "SITE CHMOD u+x a file",
            "SITE CHMOD 888 a file",
            "MFMT 20200102030405 nothing",
            "SITE UTIME x a file",
        ] {
            client.command(command).one_of(&[501, 504, 550]);
        }
        assert_eq!((modified(), mode()), (1_704_164_645, 0o644));
    });
}

#[test]
fn space_is_told_to_those_who_may_use_it() {
    kit::test(30, || {
        let users = users_file(&[("demo", "/", "all"), ("reader", "/", "read-only")]);
        let node = Node::with(Options { users, ..Options::default() });
        let mut client = Client::ready(&node);
        let free: u64 = client.command("AVBL").text.strip_prefix("213 ").and_then(|number| number.parse().ok()).unwrap();
        assert!(free > 1 << 20);
        client.command("AVBL /").is(213);
        client.command("AVBL nothing").is(550);
        Client::session_of(&node, &client.sibling(), "reader").command("AVBL").is(550);
    });
}

#[test]
fn who_shows_ones_own_sessions_only() {
    kit::test(30, || {
        let users = users_file(&[("demo", "/", "all"), ("other", "/", "all")]);
        let node = Node::with(Options { users, ..Options::default() });
        let mut client = Client::ready(&node);
        let _other = Client::session_of(&node, &kit::Tls::new(kit::Version::Tls13), "other");
        let sessions = |client: &mut Client| client.command("SITE WHO").text.matches("s_").count();
        assert_eq!(sessions(&mut client), 1);
        let _second = Client::ready(&node);
        assert_eq!(sessions(&mut client), 2);
    });
}

#[test]
fn after_epsv_all_there_is_only_epsv() {
    kit::test(30, || {
        let node = Node::with(Options::default().set("data", r#"{ ports: "0/8", active: true }"#));
        let mut client = Client::ready(&node);
        client.command("EPSV ALL").is(200);
        client.command("PASV").is(503);
        client.command("PORT 127,0,0,1,200,1").is(503);
        client.command("EPRT |1|127.0.0.1|51201|").is(503);
        assert!(list(&mut client, "NLST", b"").is_empty());
        // REIN is a new beginning (RFC 2428 §4 speaks of the session).
        client.command("REIN").is(220);
        client.login(kit::USER);
        client.command("PASV").is(227);
    });
}

/// Whoever cuts an upload tidies up at once: the directory is empty by then.
#[test]
fn a_directory_goes_right_after_an_upload_in_it_was_aborted() {
    kit::test(60, || {
        let node = Node::start();
        let mut client = Client::session(&node, &kit::Tls::new(kit::Version::Tls12));
        for _ in 0..20 {
            client.command("MKD d").is(257);
            let mut data = client.begin("STOR d/file");
            data.handshake().unwrap();
            data.write(&[7; 300_000]).unwrap();
            client.send(b"ABOR\r\nRMD d\r\n").unwrap();
            for code in [426, 226, 250] {
                client.expect(code);
            }
        }
        assert_eq!(kit::entries(&node.root), 0);
    });
}

#[test]
fn both_ways_to_announce_a_port_carry_data() {
    kit::test(30, || {
        let node = Node::start();
        let mut client = Client::ready(&node);
        for address in [Client::pasv, Client::epsv] {
            let to = address(&mut client);
            let mut data = Data::connect(to, &client.tls);
            client.command("MLSD").is(150);
            data.handshake().unwrap();
            assert!(data.read_to_end().unwrap().starts_with(b"type=cdir;"));
            data.finish();
            client.expect(226);
        }
        client.command("EPSV 1").is(229);
        client.command("EPSV 2").is(522);
        client.command("EPSV 3").is(522);
    });
}
