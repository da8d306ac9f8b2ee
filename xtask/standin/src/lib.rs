//! In-memory stand-in for an Aerospike server. It implements the part of the wire protocol that an application with
//! batch reads needs, for machines that can reach neither a cluster nor the vendor's image.
//!
//! Suggested reading order: `session` (one connection), `wire` and `reader` (parsing), `command` (one record) and
//! `batch` (several), `store` and `value` (storage), `info` (cluster information). Unsupported requests are answered
//! with the protocol's error code.
//!
//! The formats are those of server 8.1: `as/include/base/proto.h` in github.com/aerospike/aerospike-server.

mod batch;
mod budget;
mod clock;
mod code;
mod command;
mod draft;
mod info;
mod listener;
mod msgpack;
mod reader;
mod server;
mod session;
mod store;
mod value;
mod wire;

pub use listener::Listener;
pub use server::{IDLE, NAME, Server, Settings};
pub use session::serve;
