//! Accepts connections and serves each in a thread of its own.

use std::convert::Infallible;
use std::io::{self, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::server::{NAME, Server, Settings};
use crate::session;

/// Interval between two searches for expired records.
const SWEEP: Duration = Duration::from_secs(10);
/// Time after which a client that does not read an answer is disconnected.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Stack size of a connection's thread in bytes; nested lists need the most.
const STACK: usize = 1024 * 1024;

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
    eprintln!("{}: {what}", NAME);
}
