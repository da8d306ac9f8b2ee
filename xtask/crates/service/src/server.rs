//! Server of a service, as selected on the command line.

use std::fmt;
use std::str::FromStr;

use anyhow::{Result, ensure};

/// Server that a service uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerChoice {
    /// Image of the matrix.
    Image,
    /// In-memory stand-in of this project, for development.
    Standin,
    /// Running server at `HOST:PORT`.
    At(String),
}

impl FromStr for ServerChoice {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<ServerChoice> {
        match text {
            "image" => Ok(ServerChoice::Image),
            "standin" => Ok(ServerChoice::Standin),
            address => {
                let plain = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
                let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty() && host.chars().all(plain));
                ensure!(
                    port.is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0)),
                    "`{address}` is not `image`, `standin` or HOST:PORT"
                );
                Ok(ServerChoice::At(address.to_owned()))
            }
        }
    }
}

impl fmt::Display for ServerChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerChoice::Image => f.write_str("the image of the matrix"),
            ServerChoice::Standin => {
                f.write_str("STAND-IN (in memory, for development: not suitable for performance measurements)")
            }
            ServerChoice::At(address) => f.write_str(address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_parsed() {
        assert_eq!("image".parse::<ServerChoice>().unwrap(), ServerChoice::Image);
        assert_eq!("standin".parse::<ServerChoice>().unwrap(), ServerChoice::Standin);
        assert_eq!("[::1]:3000".parse::<ServerChoice>().unwrap(), ServerChoice::At("[::1]:3000".to_owned()));
        for wrong in ["", "host", ":3000", "host:0", "host:99999", "a b:3000", "standin "] {
            assert!(wrong.parse::<ServerChoice>().unwrap_err().to_string().contains("HOST:PORT"), "{wrong}");
        }
    }
}
