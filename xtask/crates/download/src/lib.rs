//! Downloads files over HTTP and HTTPS from untrusted servers.
//!
//! Proxies are read from `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy`, in lower or upper case; trusted
//! certificates from `PIP_CERT`, `REQUESTS_CA_BUNDLE` or `CURL_CA_BUNDLE`, else `SSL_CERT_FILE` and `SSL_CERT_DIR`,
//! else the system; logins from the URL, else `.netrc`. The configuration of curl is not read.

mod address;
mod client;
mod download;
mod login;
mod request;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod transfer;

pub use address::{display_url, join_url, parse_url};
pub use client::Client;
pub use download::{NotFound, copy_local};
pub use request::{DownloadLimits, DownloadProgress, DownloadRequest, LARGEST_FILE, LARGEST_PAGE};
pub use reqwest::Url;
