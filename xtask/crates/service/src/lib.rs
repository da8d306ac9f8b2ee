//! `up`, `load-data` and `down`: an image's service with a server and data, to try it and to measure it.

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
pub use server::Server;
pub use trial::{Ask, Ready, Trial};
