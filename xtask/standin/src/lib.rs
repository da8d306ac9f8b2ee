//! A stand-in for an Aerospike server: the part of its wire protocol that a batch-reading application
//! needs, kept in memory, for machines that reach neither a cluster nor the vendor's image.
//!
//! Read it in this order: `session` (one connection), `wire` and `reader` (bytes to messages and back), `command`
//! (one record) and `batch` (many), `store` and `value` (what is kept), `info` (what clients ask about
//! the cluster). What it does not do it answers with the protocol's own error code.
//!
//! The formats are those of the server 8.1: `as/include/base/proto.h` in github.com/aerospike/aerospike-server.

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
