//! State shared by all connections: settings, namespaces, memory and clock.

use std::sync::Arc;
use std::time::Duration;

use crate::budget::Budget;
use crate::clock::Clock;
use crate::store::Namespace;

/// Name of this program in all its output, so that nobody mistakes it for a real server.
pub const NAME: &str = "wheel-matrix stand-in";

#[derive(Debug, Clone)]
pub struct Settings {
    /// Memory limit for records and messages in bytes.
    pub memory: usize,
    pub namespaces: Vec<String>,
    /// `HOST:PORT` reported to clients; default: the address to which they connected.
    pub announce: Option<String>,
    /// Idle time after which a connection is closed.
    pub idle: Duration,
}

/// Longer than clients keep unused connections.
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
    /// Creates a server. `port` is part of the node name, so that several stand-ins on one machine are different
    /// nodes.
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

    /// Frees the memory of expired records.
    pub fn sweep(&self) {
        let now = self.clock.now();
        self.namespaces.iter().for_each(|namespace| namespace.sweep(now));
    }

    /// Advances the clock, so that tests need not wait for an expiry.
    pub fn advance(&self, seconds: u32) {
        self.clock.advance(seconds);
    }

    /// Returns the memory used by records and messages in bytes.
    pub fn memory_used(&self) -> usize {
        self.budget.used()
    }
}
