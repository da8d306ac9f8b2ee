//! Tests of the stand-in through its protocol.

// Tests panic on unexpected results.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod batches;
mod cluster;
mod connections;
mod differential;
mod fuzz;
mod records;
mod request;

use std::io;

use request::Answer;
use standin::{Server, Settings};

const MIB: usize = 1024 * 1024;

fn server() -> Server {
    let settings = Settings { memory: 64 * MIB, namespaces: vec!["test".into()], announce: None, idle: standin::IDLE };
    Server::new(&settings, 3000)
}

/// Sends bytes to the server and returns its output and how the connection ended.
fn send(server: &Server, bytes: &[u8]) -> (Vec<u8>, io::Result<()>) {
    let mut out = Vec::new();
    let end = standin::serve(server, &mut &bytes[..], &mut out, ([127, 0, 0, 1], 3000).into());
    (out, end)
}

/// Sends a request and returns its only response. The connection must stay open.
fn ask(server: &Server, request: &request::Request) -> Answer {
    let (out, end) = send(server, &request.message());
    end.unwrap();
    let [answer] = &request::answers(&out)[..] else { panic!("not one answer") };
    answer.clone()
}
