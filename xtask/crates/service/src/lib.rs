//! `up`, `load-data` and `down`: runs an image's service with a server and data, also for tests and benchmarks.

mod available;
mod borrow;
mod commands;
mod http;
mod running;
mod server;
mod stack;
mod standin;
mod trial;

pub use available::{engine, image_of};
pub use borrow::Borrowed;
pub use commands::{LoadData, Up, down, load, up};
pub use server::ServerChoice;
pub use trial::{PreparedServer, Site, Trial, TrialOptions};
