//! Limits that hold over all nodes together: sessions in all, of an address and of a user, logins a minute, the speed of a user.
//!
//! Gets: three nodes behind a balancer that says who its clients are, whose node a test chooses. Gives: how many get in, and who gets in again when others have gone.
//! Never: a store: leases are between nodes, and what happens to a store changes nothing here.

use std::net::Ipv4Addr;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use crate::kit::{self, Client, Cluster, Entrance, Pick, Reply, Setup, Tell, Tls, Version, random_bytes, same, users_file};

fn limited(nodes: usize, limits: &[(&'static str, &str)]) -> Cluster {
    let users = users_file(&[("demo", "/", "all"), ("other", "/", "all")]);
    let mut setup = Setup { nodes, users, tell: Tell::public(2), ..Setup::default() }.key("bans", "rules", "[]");
    for (key, value) in limits {
        setup = setup.key("limits", key, value);
    }
    let cluster = Cluster::with(setup);
    cluster.settle();
    cluster
}

/// A control connection from 127.0.0.N to a node, with its greeting.
fn open(cluster: &Cluster, node: usize, last: u8) -> (Client, Reply) {
    cluster.balancer.pick(Pick::Fixed { control: node, data: node });
    greeted(cluster, last)
}

fn greeted(cluster: &Cluster, last: u8) -> (Client, Reply) {
    let mut client = Client::open_from(cluster.explicit(), &Tls::new(Version::Tls13), Ipv4Addr::new(127, 0, 0, last));
    let reply = client.reply();
    (client, reply)
}

/// A session of a user; `None`: there is no place.
fn login(cluster: &Cluster, last: u8, user: &str) -> Option<Client> {
    let (mut client, greeting) = greeted(cluster, last);
    greeting.is(220);
    client.secure();
    client.command(&format!("USER {user}")).is(331);
    let reply = client.command(&format!("PASS {user}-password"));
    reply.one_of(&[230, 421, 450, 530]);
    (reply.code == 230).then_some(client)
}

fn login_at(cluster: &Cluster, node: usize, last: u8, user: &str) -> Option<Client> {
    cluster.balancer.pick(Pick::Fixed { control: node, data: node });
    login(cluster, last, user)
}

fn hits(cluster: &Cluster, limit: &str) -> f64 {
    cluster.metric("ftps_gateway_limits_hit_total", &[&format!("\"{limit}\"")])
}

#[test]
fn a_user_has_exactly_as_many_sessions_as_it_may_over_all_nodes() {
    kit::test(180, || {
        let cluster = limited(3, &[("sessions_per_user", "5")]);
        let mut held: Vec<Client> = (0..5).filter_map(|number| login_at(&cluster, number % 3, 7, "demo")).collect();
        assert_eq!(held.len(), 5);
        for node in [0, 1, 2, 0, 1, 2] {
            assert!(login_at(&cluster, node, 7, "demo").is_none(), "a sixth one, on node {node}");
        }
        assert_eq!(hits(&cluster, "sessions_per_user"), 6.0);
        assert!(login_at(&cluster, 2, 7, "other").is_some());
        // What is freed on one node is free on the others.
        drop(held.remove(0));
        kit::eventually(10, "its place is another node's", || login_at(&cluster, 1, 7, "demo").map(|client| held.push(client)).is_some());
        assert!((0..3).all(|node| login_at(&cluster, node, 7, "demo").is_none()));
        drop(held);
        // All at once, to whatever node: never more than five, and in the end five.
        cluster.balancer.pick(Pick::Random);
        for round in 0..5 {
            kit::eventually(10, "nobody is there", || cluster.metric("ftps_gateway_sessions", &[]) == 0.0);
            let together = Barrier::new(12);
            let inside: Vec<Option<Client>> = std::thread::scope(|scope| {
                let tries: Vec<_> = (0..12)
                    .map(|_| {
                        scope.spawn(|| {
                            together.wait();
                            login(&cluster, 7, "demo")
                        })
                    })
                    .collect();
                tries.into_iter().map(|one| one.join().unwrap()).collect()
            });
            let mut inside: Vec<Client> = inside.into_iter().flatten().collect();
            assert!(inside.len() <= 5, "round {round}: {}", inside.len());
            kit::eventually(10, "all places are taken", || {
                inside.extend(login(&cluster, 7, "demo"));
                inside.len() == 5
            });
            assert!(login(&cluster, 7, "demo").is_none(), "round {round}");
        }
    });
}

#[test]
fn an_address_and_all_addresses_have_as_many_sessions_as_they_may() {
    kit::test(180, || {
        let cluster = limited(3, &[("sessions_per_ip", "8"), ("cluster_sessions", "20")]);
        let get_in = |last: u8, most: usize| -> Vec<Client> {
            let tries = (0..most + 6).map(|number| open(&cluster, number % 3, last));
            let inside: Vec<Client> = tries.filter(|(_, reply)| reply.code == 220).map(|(client, _)| client).collect();
            assert_eq!(inside.len(), most, "from 203.0.113.{last}");
            inside
        };
        let held = [get_in(7, 8), get_in(8, 8), get_in(9, 4)];
        assert_eq!((hits(&cluster, "sessions_per_ip"), hits(&cluster, "cluster_sessions")), (12.0, 6.0));
        drop(held);
        kit::eventually(10, "there is room again", || open(&cluster, 1, 9).1.code == 220);
        // One address at one node alone has the whole limit too.
        kit::eventually(10, "nobody is there", || cluster.metric("ftps_gateway_sessions", &[]) == 0.0);
        let mut one: Vec<Client> = Vec::new();
        kit::eventually(10, "it has all its places at one node", || {
            one.extend(Some(open(&cluster, 1, 11)).filter(|(_, reply)| reply.code == 220).map(|(client, _)| client));
            one.len() == 8
        });
        assert!((0..6).all(|number| open(&cluster, number % 3, 11).1.code == 421));
    });
}

#[test]
fn what_a_node_held_is_free_soon_after_it_was_killed_or_has_drained() {
    kit::test(180, || {
        let mut cluster = limited(3, &[("sessions_per_user", "4")]);
        let held: Vec<Option<Client>> = (0..4).map(|_| login_at(&cluster, 2, 7, "demo")).collect();
        assert!(held.iter().all(Option::is_some) && login_at(&cluster, 0, 7, "demo").is_none());
        cluster.kill(2);
        let killed = Instant::now();
        let mut again = Vec::new();
        kit::eventually(15, "the killed node's places are free", || {
            again.extend(login_at(&cluster, again.len() % 2, 7, "demo"));
            again.len() == 4
        });
        eprintln!("4 places of a killed node were free after {:.1?}", killed.elapsed());
        assert!(killed.elapsed() < Duration::from_secs(8), "{:?}", killed.elapsed());
        assert!((0..2).all(|node| login_at(&cluster, node, 7, "demo").is_none()));
        cluster.restart(2);
        cluster.settle();
        assert!(login_at(&cluster, 2, 7, "demo").is_none(), "a new node knows what the others hold");
        // Half of them are on node 1, which drains: idle sessions end.
        cluster.drain(1);
        let drained = Instant::now();
        assert_eq!(cluster.gone(1, 20), Some(0));
        let mut more = Vec::new();
        kit::eventually(15, "the drained node's places are free", || {
            more.extend(login_at(&cluster, 2 * (more.len() % 2), 7, "demo"));
            more.len() == 2
        });
        eprintln!("2 places of a drained node were free after {:.1?}", drained.elapsed());
        assert!([0, 2].iter().all(|node| login_at(&cluster, *node, 7, "demo").is_none()));
    });
}

#[test]
fn a_frozen_home_or_no_other_node_at_all_refuses_nobody() {
    kit::test(180, || {
        let cluster = limited(3, &[("sessions_per_user", "6"), ("sessions_per_ip", "1000")]);
        let held: Vec<Option<Client>> = (0..2).map(|node| login_at(&cluster, node, 7, "demo")).collect();
        assert!(held.iter().all(Option::is_some));
        // Whoever the homes of the user and the address are: one of the two is frozen, or both.
        cluster.freeze(1);
        cluster.freeze(2);
        let began = Instant::now();
        let more: Vec<Option<Client>> = (0..5).map(|_| login_at(&cluster, 0, 7, "demo")).collect();
        let inside = more.iter().flatten().count();
        eprintln!("{inside} of 5 more sessions beside two frozen nodes within {:.1?}", began.elapsed());
        assert!(inside >= 4, "{inside}: the own count allows five");
        assert!(began.elapsed() < Duration::from_secs(20));
        cluster.thaw(1);
        cluster.thaw(2);
        cluster.settle();
        drop(login_at(&cluster, 1, 7, "other").expect("another user"));
    });
}

#[test]
fn a_minutes_logins_of_an_address_are_counted_over_all_nodes() {
    kit::test(180, || {
        let cluster = limited(3, &[("logins_per_minute_per_ip", "6")]);
        let count = |last: u8, node: &dyn Fn(usize) -> usize, what: &str| {
            let began = Instant::now();
            let tries = (0..12).map(|number| {
                let inside = login_at(&cluster, node(number), last, "demo").is_some();
                // Longer than it takes to tell the others.
                std::thread::sleep(Duration::from_millis(150));
                usize::from(inside)
            });
            let inside = tries.sum::<usize>();
            // A sixth of a minute gives another one.
            let most = 6 + usize::try_from(began.elapsed().as_secs() / 10).unwrap();
            assert!((6..=most).contains(&inside), "{inside} {what} within {:?}", began.elapsed());
        };
        count(7, &|number| number % 3, "over three nodes");
        count(8, &|_| 1, "on one of them");
        assert_eq!(hits(&cluster, "logins_per_minute_per_ip"), 12.0);
    });
}

#[test]
fn a_users_speed_is_shared_by_its_sessions_on_two_nodes() {
    kit::test(180, || {
        let cluster = limited(2, &[("bandwidth_per_user", "512KiB")]);
        let bytes = random_bytes(4 << 20);
        std::fs::write(cluster.root.join("file"), &bytes).unwrap();
        let get = |node: usize| {
            let mut client = Client::session(cluster.node(node), &Tls::new(Version::Tls13));
            same(&client.get("RETR file"), &bytes, "the download");
        };
        let began = Instant::now();
        std::thread::scope(|scope| (0..2).for_each(|node| drop(scope.spawn(move || get(node)))));
        let two = began.elapsed();
        let began = Instant::now();
        get(0);
        let one = began.elapsed();
        eprintln!("8 MiB over two nodes at 512 KiB/s: {two:.1?}; 4 MiB on one of them: {one:.1?}");
        // 16 s and 8 s without the second that is free, and what each takes before it has heard of the other.
        assert!(two >= Duration::from_millis(13_000), "{two:?}");
        assert!(one >= Duration::from_millis(6_900) && one < Duration::from_secs(14), "{one:?}: alone, it has the whole speed");
    });
}
