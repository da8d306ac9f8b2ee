//! Command line of the stand-in server.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;
use standin::{Listener, NAME, Settings};

/// A small in-memory server that speaks Aerospike's wire protocol: a development aid, NOT Aerospike
#[derive(Debug, Parser)]
#[command(version, name = "standin")]
struct Cli {
    /// Address to listen on; port 0 selects a free port
    #[arg(long, default_value = "127.0.0.1:3000", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Address reported to clients; default: the address to which they connected
    #[arg(long, value_name = "HOST:PORT", value_parser = host_and_port)]
    announce: Option<String>,
    /// Memory limit for records and messages, such as 512M or 2G
    #[arg(long, default_value = "512M", value_name = "SIZE", value_parser = size)]
    memory: usize,
    /// Maximum number of client connections
    #[arg(long, default_value_t = 1024, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    connections: u32,
    /// Namespace (repeatable)
    #[arg(long = "namespace", default_value = "test", value_name = "NAME", value_parser = namespace)]
    namespaces: Vec<String>,
}

fn main() -> ExitCode {
    let Err(error) = run(Cli::parse());
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}

fn run(cli: Cli) -> Result<Infallible> {
    // The first process in a container receives only signals for which it has a handler.
    ctrlc::set_handler(|| std::process::exit(0)).context("cannot listen for signals")?;
    let settings =
        Settings { memory: cli.memory, namespaces: cli.namespaces, announce: cli.announce, idle: standin::IDLE };
    let listener = Listener::bind(cli.listen, cli.connections as usize, &settings)?;
    let address = listener.address().context("cannot tell which address was given")?;
    println!("{NAME}, not Aerospike: for development only, nothing is kept when it ends");
    println!(
        "{NAME}: listening on {address}, namespace {}, at most {} MiB and {} connections",
        settings.namespaces.join(", "),
        cli.memory >> 20,
        cli.connections
    );
    listener.run()
}

fn size(text: &str) -> Result<usize, String> {
    let (number, shift) = match text.strip_suffix(['M', 'G']) {
        Some(number) if text.ends_with('G') => (number, 30),
        Some(number) => (number, 20),
        None => (text, 0),
    };
    let bytes = number.parse::<usize>().ok().and_then(|number| number.checked_mul(1 << shift));
    bytes.filter(|&bytes| bytes > 0).ok_or_else(|| "a size is a number of bytes, or one with M or G: 512M".into())
}

fn host_and_port(text: &str) -> Result<String, String> {
    let sound = text
        .rsplit_once(':')
        .is_some_and(|(host, port)| is_plain(host) && port.parse::<u16>().is_ok_and(|port| port > 0));
    if sound { Ok(text.into()) } else { Err("an address is HOST:PORT, as in db.example:3000".into()) }
}

/// Checks a namespace, which is sent in responses whose fields end at a colon, semicolon or line end.
fn namespace(text: &str) -> Result<String, String> {
    let sound =
        text.len() <= 31 && !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-$".contains(c));
    if sound { Ok(text.into()) } else { Err("a namespace is 1 to 31 letters, digits, `_`, `-`, `$`".into()) }
}

fn is_plain(host: &str) -> bool {
    !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:[]".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(size("512M"), Ok(512 << 20));
        assert_eq!(size("2G"), Ok(2 << 30));
        assert_eq!(size("17"), Ok(17));
        for wrong in ["", "M", "0", "-1", "1T", "99999999999999999999G"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn addresses_to_announce() {
        assert!(host_and_port("db.example:3000").is_ok());
        assert!(host_and_port("[::1]:3000").is_ok());
        for wrong in ["db", ":3000", "db:0", "db:99999", "a;b:3000", "a\nb:3000"] {
            assert!(host_and_port(wrong).is_err(), "{wrong}");
        }
    }
}
