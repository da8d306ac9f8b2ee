//! Tests of the cluster information that clients request.

use crate::request::info;
use crate::{send, server};

fn ask(commands: &str) -> String {
    let (out, end) = send(&server(), &info(commands));
    end.unwrap();
    assert_eq!(out[..2], [2, 1]);
    assert_eq!(out.len() - 8, usize::from(out[6]) << 8 | usize::from(out[7]));
    String::from_utf8(out[8..].into()).unwrap()
}

#[test]
fn it_says_what_it_is() {
    let answer = ask("edition\nbuild\nversion\nrelease\n");
    assert_eq!(answer.lines().count(), 4);
    assert!(answer.lines().all(|line| line.contains("stand-in")), "{answer}");
}

#[test]
fn it_is_the_only_node_and_has_every_partition() {
    let answer = ask("peers-clear-std\nservice-clear-std\nreplicas\n");
    let lines: Vec<&str> = answer.lines().collect();
    assert_eq!(lines[..2], ["peers-clear-std\t0,3000,[]", "service-clear-std\t127.0.0.1:3000"]);
    let bits = lines[2].strip_prefix("replicas\ttest:0,1,").unwrap();
    assert_eq!(bits.len(), 684);
    assert_eq!(bits, format!("{}//8=", "/".repeat(680)));
}

#[test]
fn what_it_does_not_know_is_an_error_of_that_line() {
    assert_eq!(ask("racks:\nnode\n").lines().next(), Some("racks:\tERROR:4:unrecognized command"));
    assert_eq!(ask("namespace/other\n"), "namespace/other\tERROR:20:namespace not found\n");
    assert!(ask("namespace/test\n").contains("objects=0;"));
    assert_eq!(ask("node\nnode"), "node\tBB957A4D140BB8\n", "a line that has not ended");
}
