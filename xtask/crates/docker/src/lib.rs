//! The API of the Docker engine behind synchronous functions. No other crate uses the client library.
//!
//! [`Docker`] is a connection. Its methods are in the file of their subject: `image.rs`, `build.rs`, `run.rs` (jobs),
//! `service.rs`, `registry.rs` and so on.

mod activity;
mod build;
mod build_progress;
mod client;
mod connect;
mod container;
mod context;
mod control;
mod copy;
mod credentials;
mod endpoint;
mod image;
mod info;
mod job;
mod job_files;
mod job_output;
mod leftovers;
mod network;
pub mod owner;
mod proxies;
mod reference;
mod registry;
mod run;
mod service;
mod tunnel;
mod watch;

pub use build::Build;
pub use client::{Docker, OnLine};
pub use context::{Content, ContextFile};
pub use endpoint::default_socket;
pub use image::{Image, Import};
pub use info::EngineInfo;
pub use job::{Job, JobResult};
pub use network::Network;
pub use proxies::proxies;
pub use registry::{RegistryImage, is_permanent};
pub use service::{ContainerInfo, Health, LabelledContainer, PublishedPort, Service};

#[cfg(test)]
mod tests;
