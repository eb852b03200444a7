//! `doctor` against clusters: a healthy one behind a random balancer, one whose balancer breaks data connections, one without its store.
//!
//! Gets: real nodes behind the kit's balancer. Gives: each fault in words, with the one thing to change.
//! Never: a fault that the test only pretends.

use crate::kit::{self, Cluster, Entrance, Output, PASSWORD, Pick, Run, Server, Setup, USER, binary};

fn doctor(cluster: &Cluster, more: &[&str]) -> Output {
    let host = format!("{}:{}", cluster.host(), cluster.explicit().port());
    let ca = cluster.ca().display().to_string();
    let arguments = ["doctor", &host, "--user", USER, "--ca", &ca].into_iter().chain(more.iter().copied());
    Run::new(binary(), arguments).input(format!("{PASSWORD}\n")).seconds(90).run()
}

fn url(cluster: &Cluster) -> String {
    format!("http://{}", cluster.node(0).admin)
}

#[test]
fn a_healthy_cluster_behind_a_random_balancer_is_well() {
    kit::test(120, || {
        let Some(redis) = Server::redis() else { return };
        let cluster = Cluster::with(Setup { nodes: 3, store: Some(redis.url()), ..Setup::default() });
        cluster.settle();
        let output = doctor(&cluster, &["--url", &url(&cluster)]);
        let text = output.text();
        assert_eq!(output.code, Some(0), "{text}\n{}", output.stderr);
        // Other nodes resume, each data connection finds its session, every node sees the file, and how long that took.
        assert!(text.contains("8 of 8 further sessions resumed the first one's TLS session"), "{text}");
        assert!(text.contains("8 of 8 reached their session, 8 resumed"), "{text}");
        assert!(text.contains("all 8 other sessions saw the new file within "), "{text}");
        assert!(text.lines().any(|line| line.starts_with("ok    store ") && line.contains(" ms for an operation on average")), "{text}");
        assert!(text.contains("3 in the cluster, this one included"), "{text}");
        assert!(text.lines().any(|line| line.starts_with("ok    clocks of nodes ")), "{text}");
        let used = cluster.nodes().filter(|node| node.metric("ftps_gateway_tls_handshakes_total", &["channel=\"control\""]) > Some(0.0)).count();
        assert!(used > 1, "the balancer sent the doctor to {used} node");
    });
}

#[test]
fn a_balancer_that_breaks_data_connections_is_named() {
    kit::test(180, || {
        // Nodes that do not know one another, and a balancer that sends data connections to the other one: what SFTPGo's chart does.
        let cluster = Cluster::with(Setup { nodes: 2, ..Setup::default() }.key("cluster", "secret_file", "null"));
        cluster.balancer.pick(Pick::Fixed { control: 0, data: 1 });
        let output = doctor(&cluster, &[]);
        let text = output.text();
        assert_eq!(output.code, Some(1), "{text}");
        assert!(text.contains("BAD   upload") || text.contains("BAD   data connections"), "{text}");
        assert!(text.contains("→  let the nodes reach one another on listen.peer, with one cluster.secret_file"), "{text}");
        assert!(text.contains("ok    login"), "the rest is not blamed: {text}");
        // At random: every other one gets through.
        cluster.balancer.pick(Pick::Random);
        let text = doctor(&cluster, &[]).text();
        assert!(text.contains("BAD   TLS sessions") && text.contains("give all nodes behind the balancer the same cluster.secret_file"), "{text}");
        assert!(text.contains("; not on node-"), "who did not resume is named: {text}");
    });
}

#[test]
fn a_store_that_is_away_is_named_and_nodes_are_counted() {
    kit::test(180, || {
        let Some(mut redis) = Server::redis() else { return };
        let cluster = Cluster::with(Setup { nodes: 2, store: Some(redis.url()), ..Setup::default() });
        cluster.settle();
        redis.kill();
        kit::eventually(30, "the node notices", || cluster.node(0).metric("ftps_gateway_shared_store_up", &[]) == Some(0.0));
        let output = doctor(&cluster, &["--url", &url(&cluster)]);
        let text = output.text();
        assert_eq!(output.code, Some(1), "{text}");
        assert!(text.contains("BAD   store             away, for ") && text.contains("→  look at the store of store.url"), "{text}");
        assert!(text.contains("ok    data connections"), "clients notice nothing: {text}");
        cluster.balancer.set_used(1, false);
        cluster.freeze(1);
        kit::eventually(60, "the other one is missed", || cluster.node(0).metric("ftps_gateway_cluster_nodes", &["\"live\""]) == Some(1.0));
        let text = doctor(&cluster, &["--url", &url(&cluster)]).text();
        cluster.thaw(1);
        assert!(text.contains("ok    nodes             1 in the cluster, this one included"), "{text}");
    });
}
