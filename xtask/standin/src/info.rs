//! Answers info requests about the cluster: one node that is master of all partitions.

use std::fmt::Write as _;
use std::net::SocketAddr;

use crate::server::{NAME, Server};

/// Clients parse the leading version and use the features of that server version.
const BUILD: &str = "8.1.2.0-wheel-matrix-stand-in";
const PARTITION_BYTES: usize = 4096 / 8;

/// Writes `name\tvalue\n` for each line of the request.
pub fn answer(server: &Server, request: &[u8], local: SocketAddr, out: &mut Vec<u8>) {
    let request = if request.is_empty() { b"node\nedition\nbuild\n" } else { request };
    // Text after the last line end is not a command.
    let whole = request.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    for line in request[..whole].split_inclusive(|&byte| byte == b'\n') {
        let command = &line[..line.len() - 1];
        out.extend_from_slice(command);
        out.push(b'\t');
        out.extend_from_slice(value(server, &String::from_utf8_lossy(command), local).as_bytes());
        out.push(b'\n');
    }
}

fn value(server: &Server, command: &str, local: SocketAddr) -> String {
    let (name, argument) = command.split_once(['/', ':', ';']).unwrap_or((command, ""));
    match name {
        "node" => server.node.clone(),
        "build" => BUILD.into(),
        "edition" => NAME.into(),
        "version" => format!("{} build {BUILD}", NAME),
        "release" => format!("edition={};version={BUILD};arch={}", NAME, std::env::consts::ARCH),
        "cluster-name" => "null".into(),
        "features" => "batch-any;batch-index;float;geo;peers;pipelining;replicas".into(),
        "partition-generation" | "rebalance-generation" => "1".into(),
        "peers-generation" => "0".into(),
        "peers-clear-std" | "peers-clear-alt" => "0,3000,[]".into(),
        "service" | "service-clear-std" => server.announce.clone().unwrap_or_else(|| local.to_string()),
        "service-clear-alt" => server.announce.clone().unwrap_or_default(),
        "rack-ids" => "ERROR:25:enterprise only".into(),
        "services" | "services-alternate" | "services-alumni" => String::new(),
        "replicas" => replicas(server),
        "namespaces" => server.namespaces().map(|namespace| namespace.name()).collect::<Vec<_>>().join(";"),
        "namespace" => namespace(server, argument),
        "statistics" => format!("cluster_size=1;objects={};memory_used={}", records(server), server.budget.used()),
        "status" | "user-agent-set" => "ok".into(),
        _ => "ERROR:4:unrecognized command".into(),
    }
}

/// Returns for each namespace its regime, the number of copies, and a bitmap of the partitions, which are all
/// present.
fn replicas(server: &Server) -> String {
    let bits = format!("{}//8=", "////".repeat(PARTITION_BYTES / 3));
    let maps: Vec<String> = server.namespaces().map(|namespace| format!("{}:0,1,{bits}", namespace.name())).collect();
    maps.join(";")
}

fn namespace(server: &Server, name: &str) -> String {
    let Some(namespace) = server.namespace(Some(name.as_bytes())) else {
        return "ERROR:20:namespace not found".into();
    };
    let mut out = String::new();
    let _ = write!(out, "objects={};master_objects={0};", namespace.records());
    let _ = write!(out, "data_total_bytes={};stop_writes=false;default-ttl=0", server.budget.limit());
    out
}

fn records(server: &Server) -> usize {
    server.namespaces().map(|namespace| namespace.records()).sum()
}
