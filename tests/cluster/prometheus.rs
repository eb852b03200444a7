//! A real Prometheus scrapes three nodes that are used: all targets up, few series, names that promtool accepts, and no word of a client in any label.
//!
//! Gets: Debian's prometheus and promtool. Gives: what Prometheus itself says of what it stored.
//! Never: looks at a scrape that only this test made.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::kit::{self, Cluster, Run, Server, Setup, Tls, Tree, Version, connect, random_bytes, register, unregister, users_file};
use crate::need;

/// A running Prometheus.
struct Prometheus {
    child: Child,
    url: String,
}

impl Prometheus {
    fn start(tree: &Tree, cluster: &Cluster) -> Self {
        let targets: Vec<String> = cluster.nodes().map(|node| format!("\"{}\"", node.metrics)).collect();
        let config = format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\nscrape_configs: [{{ job_name: gateway, static_configs: [{{ targets: [{}] }}] }}]\n",
            targets.join(", ")
        );
        let file = tree.write("prometheus.yml", config.as_bytes());
        // Another process may take the port between looking and listening: then once more.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).unwrap().port();
            let data = tree.join(&format!("prometheus-{port}"));
            let mut command = Command::new("prometheus");
            command.arg(format!("--config.file={}", file.display())).arg(format!("--storage.tsdb.path={}", data.display()));
            command.arg(format!("--web.listen-address=127.0.0.1:{port}")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = command.spawn().unwrap();
            register(child.id());
            let address = ([127, 0, 0, 1], port).into();
            for _ in 0..500 {
                if child.try_wait().unwrap().is_some() {
                    break;
                }
                if connect(address).is_ok() {
                    return Self { child, url: format!("http://127.0.0.1:{port}") };
                }
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            unregister(child.id());
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("prometheus does not start");
    }

    fn ask(&self, path: &str) -> Value {
        let output = Run::new("curl", ["-sS", "-g", "--max-time", "10", &format!("{}{path}", self.url)]).run().ok();
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    /// The value of each series of an expression.
    fn query(&self, expression: &str) -> Vec<f64> {
        let escaped: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = self.ask(&format!("/api/v1/query?query={escaped}"));
        let series = answer["data"]["result"].as_array().cloned().unwrap_or_default();
        series.iter().filter_map(|one| one["value"][1].as_str()?.parse().ok()).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        unregister(self.child.id());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn prometheus_scrapes_three_nodes_and_finds_few_series_without_a_word_of_a_client() {
    need!("prometheus", "promtool", "curl");
    kit::test(180, || {
        let tree = Tree::new();
        let users = users_file(&[("mallory-the-user", "/", "all")]);
        // One store: without it each node seals with keys of its own.
        let Some(redis) = Server::redis() else { return };
        let cluster = Cluster::with(Setup { nodes: 3, users, store: Some(redis.url()), ..Setup::default() });
        cluster.settle();
        let prometheus = Prometheus::start(&tree, &cluster);
        for round in 0..6 {
            let tls = Tls::new(if round % 2 == 0 { Version::Tls13 } else { Version::Tls12 });
            let mut client = kit::Client::session_of(&cluster, &tls, "mallory-the-user");
            client.put("STOR /told-by-a-client", &random_bytes(5000)).is(226);
            client.get("RETR /told-by-a-client");
            client.command("XYZZY told-by-a-client").is(500);
            let mut guess = kit::Client::connect(&cluster, &tls);
            guess.secure();
            guess.command("USER told-by-a-client").is(331);
            guess.command("PASS told-by-a-client").is(530);
        }
        kit::eventually(60, "all three targets are up", || prometheus.query("up{job=\"gateway\"} == 1").len() == 3);
        let targets = prometheus.ask("/api/v1/targets");
        let active = targets["data"]["activeTargets"].as_array().unwrap();
        assert!(active.iter().all(|target| target["health"] == "up" && target["lastError"] == ""), "{targets}");
        kit::eventually(30, "every upload is in Prometheus", || {
            prometheus.query("sum(ftps_gateway_transfers_total{direction=\"upload\",result=\"complete\"})") == [6.0]
        });
        // Prometheus' own count of each scrape.
        let samples = prometheus.query("scrape_samples_scraped{job=\"gateway\"}");
        assert!(samples.len() == 3 && samples.iter().all(|count| (300.0..=2500.0).contains(count)), "{samples:?}");
        assert_eq!(prometheus.query("count(count by (hash) (ftps_gateway_config_info))"), [1.0], "three nodes, one configuration");
        kit::eventually(30, "one ticket key seals", || prometheus.query("count(count_values(\"key\", ftps_gateway_tls_ticket_key_generation))") == [1.0]);
        assert_eq!(prometheus.query("count(count_values(\"version\", ftps_gateway_ban_list_version))"), [1.0], "one ban book");
        assert!(prometheus.query("ftps_gateway_storage_free_bytes").iter().all(|free| *free > 0.0));
        // Every label that Prometheus has of these nodes.
        let series = prometheus.ask("/api/v1/series?match[]={job=\"gateway\"}")["data"].as_array().cloned().unwrap_or_default();
        assert!(series.len() > 900, "{}", series.len());
        let clients = ["mallory", "told-by", "xyzzy", &cluster.balancer.ip.to_string()].map(str::to_lowercase);
        for one in &series {
            for (name, value) in one.as_object().unwrap().iter().filter(|(name, _)| *name != "instance") {
                let text = value.as_str().unwrap_or_default().to_lowercase();
                assert!(clients.iter().all(|word| !text.contains(word.as_str())), "{name}={text}");
            }
        }
        for node in cluster.nodes() {
            let checked = Run::new("promtool", ["check", "metrics"]).input(node.get(node.metrics, "/metrics").body).run();
            assert!(checked.code == Some(0) && checked.stderr.is_empty(), "{}{}", checked.text(), checked.stderr);
        }
    });
}
