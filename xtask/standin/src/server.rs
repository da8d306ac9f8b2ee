//! What all connections share: settings, namespaces, memory and the clock.

use std::sync::Arc;
use std::time::Duration;

use crate::budget::Budget;
use crate::clock::Clock;
use crate::store::Namespace;

/// Name of this program in all its output, so that nobody mistakes it for a real server.
pub const NAME: &str = "wheel-matrix stand-in";

#[derive(Debug, Clone)]
pub struct Settings {
    /// The bytes of records and of messages on their way.
    pub memory: usize,
    pub namespaces: Vec<String>,
    /// `HOST:PORT` for clients that ask where the node is; else the address that they reached.
    pub announce: Option<String>,
    /// A connection on which nothing arrives for so long is closed.
    pub idle: Duration,
}

/// Longer than any client keeps a connection that it does not use.
pub const IDLE: Duration = Duration::from_secs(300);

#[derive(Debug)]
pub struct Server {
    pub(crate) node: String,
    pub(crate) announce: Option<String>,
    pub(crate) idle: Duration,
    pub(crate) budget: Arc<Budget>,
    pub(crate) clock: Clock,
    namespaces: Vec<Namespace>,
}

impl Server {
    /// `port` is part of the node's name: two stand-ins on one machine are two nodes.
    pub fn new(settings: &Settings, port: u16) -> Server {
        let budget = Budget::new(settings.memory);
        let namespace = |name: &String| Namespace::new(name.clone(), budget.clone());
        Server {
            node: format!("BB957A4D14{port:04X}"),
            announce: settings.announce.clone(),
            idle: settings.idle,
            namespaces: settings.namespaces.iter().map(namespace).collect(),
            budget,
            clock: Clock::default(),
        }
    }

    pub(crate) fn namespaces(&self) -> impl Iterator<Item = &Namespace> {
        self.namespaces.iter()
    }

    pub(crate) fn namespace(&self, name: Option<&[u8]>) -> Option<&Namespace> {
        self.namespaces.iter().find(|namespace| name == Some(namespace.name().as_bytes()))
    }

    /// Gives back the memory of what has expired.
    pub fn sweep(&self) {
        let now = self.clock.now();
        self.namespaces.iter().for_each(|namespace| namespace.sweep(now));
    }

    /// Lets time pass for the records, so that no test waits for an expiry.
    pub fn advance(&self, seconds: u32) {
        self.clock.advance(seconds);
    }

    /// Bytes of records and of messages on their way, at most what the settings say.
    pub fn memory_used(&self) -> usize {
        self.budget.used()
    }
}
