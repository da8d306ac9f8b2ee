//! The stand-in as clients see it: bytes in, bytes out.

// A test that meets something unexpected says so by ending.
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

/// What the server answers to these bytes, and how the connection ended.
fn send(server: &Server, bytes: &[u8]) -> (Vec<u8>, io::Result<()>) {
    let mut out = Vec::new();
    let end = standin::serve(server, &mut &bytes[..], &mut out, ([127, 0, 0, 1], 3000).into());
    (out, end)
}

/// The one answer to a request that no connection is closed for.
fn ask(server: &Server, request: &request::Request) -> Answer {
    let (out, end) = send(server, &request.message());
    end.unwrap();
    let [answer] = &request::answers(&out)[..] else { panic!("not one answer") };
    answer.clone()
}
