//! What a caller specifies for a download: URLs, digest, limits, and callbacks for the progress.

use std::time::Duration;

use reqwest::Url;

use base::retry;

/// Maximum size of a downloaded file, in bytes.
pub const LARGEST_FILE: u64 = 8 << 30;
/// Maximum size of a page of a package index, in bytes.
pub const LARGEST_PAGE: u64 = 32 << 20;

/// Time limits and retries of a download.
#[derive(Debug, Clone)]
pub struct DownloadLimits {
    /// Delays before the second and each further attempt.
    pub pauses: Vec<Duration>,
    /// Maximum delay, also if the server requests a longer one.
    pub longest_pause: Duration,
    /// Timeout for establishing a connection.
    pub connect: Duration,
    /// Timeout for the start of the response, and the interval in which at least `least` bytes must arrive.
    pub period: Duration,
    pub least: u64,
    /// Timeout of a whole attempt.
    pub whole: Duration,
}

impl Default for DownloadLimits {
    fn default() -> DownloadLimits {
        DownloadLimits {
            pauses: retry::PAUSES.to_vec(),
            longest_pause: Duration::from_secs(60),
            connect: Duration::from_secs(20),
            period: Duration::from_secs(60),
            least: 16 << 10,
            whole: Duration::from_secs(2 * 3600),
        }
    }
}

/// File to download.
#[derive(Debug)]
pub struct DownloadRequest<'a> {
    /// URLs of the file, tried in order. All must have the same content.
    pub urls: &'a [Url],
    /// Expected SHA-256, if known. It is checked before the file is kept; only a download with a known digest is
    /// resumed.
    pub sha256: Option<&'a str>,
    /// Size in bytes, if known.
    pub size: Option<u64>,
    /// Maximum size in bytes.
    pub largest: u64,
    pub accept: Option<&'static str>,
}

/// Callbacks for the progress of a download.
pub struct DownloadProgress<'a> {
    /// Called with lines for the log.
    pub line: &'a dyn Fn(&str),
    /// Called with the bytes received so far and the total, if known.
    pub bytes: &'a dyn Fn(u64, Option<u64>),
}
