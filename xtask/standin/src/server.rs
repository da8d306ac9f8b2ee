//! What all connections share, and the loop that accepts them.

use std::convert::Infallible;
use std::io::{self, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::budget::Budget;
use crate::clock::Clock;
use crate::session;
use crate::store::Namespace;

/// How often expired records are looked for.
const SWEEP: Duration = Duration::from_secs(10);
/// A client that takes no answer for so long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Nested lists are the deepest that a connection's stack has to hold.
const STACK: usize = 1024 * 1024;

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
    idle: Duration,
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

/// A server with its socket.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    server: Arc<Server>,
    connections: usize,
}

impl Listener {
    pub fn bind(address: SocketAddr, connections: usize, settings: &Settings) -> Result<Listener> {
        let socket = TcpListener::bind(address)
            .with_context(|| format!("cannot listen on `{address}`: choose another address with --listen"))?;
        let port = socket.local_addr().context("cannot tell which port was given")?.port();
        Ok(Listener { socket, server: Arc::new(Server::new(settings, port)), connections })
    }

    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until the process ends.
    pub fn run(&self) -> Result<Infallible> {
        let server = self.server.clone();
        let sweep = move || {
            loop {
                thread::sleep(SWEEP);
                server.sweep();
            }
        };
        thread::Builder::new().spawn(sweep).context("cannot start a thread")?;
        // Each connection holds one; as many as there are besides the server's own are open.
        let open = Arc::new(());
        loop {
            match self.socket.accept() {
                Ok((_, peer)) if Arc::strong_count(&open) > self.connections => {
                    say(&format!(
                        "{peer} refused: {} connections are open, the most (--connections)",
                        self.connections
                    ));
                }
                Ok((stream, peer)) => {
                    let (server, place) = (self.server.clone(), open.clone());
                    let connection = move || {
                        if let Err(error) = connect(&server, stream)
                            && !matches!(
                                error.kind(),
                                io::ErrorKind::ConnectionReset
                                    | io::ErrorKind::BrokenPipe
                                    | io::ErrorKind::WouldBlock
                                    | io::ErrorKind::TimedOut
                            )
                        {
                            say(&format!("{peer} closed: {error}"));
                        }
                        drop(place);
                    };
                    if let Err(error) = thread::Builder::new().stack_size(STACK).spawn(connection) {
                        say(&format!("{peer} refused: no thread for it: {error}"));
                    }
                }
                Err(error) => {
                    say(&format!("cannot accept a connection: {error}"));
                    thread::sleep(Duration::from_millis(100)); // out of descriptors: some may be given back
                }
            }
        }
    }
}

fn connect(server: &Server, stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
    stream.set_read_timeout(Some(server.idle))?;
    let local = stream.local_addr()?;
    session::serve(server, &mut BufReader::new(&stream), &mut &stream, local)
}

fn say(what: &str) {
    eprintln!("{}: {what}", crate::NAME);
}
