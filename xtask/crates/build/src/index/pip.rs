//! Reads which package index the user's pip is configured for.

use std::path::Path;

use anyhow::{Context as _, Result};
use xshell::{Shell, cmd};

/// Prints the URL. Where `python3` has no pip, as on Debian, the wheel of pip that comes with `ensurepip` is used.
const SCRIPT: &str = "\
import sys
try:
    import pip
except ImportError:
    import ensurepip, glob, os
    places = [os.path.join(os.path.dirname(ensurepip.__file__), '_bundled'), '/usr/share/python-wheels']
    sys.path[:0] = [wheel for place in places for wheel in glob.glob(place + '/pip-*.whl')]
from pip._internal.configuration import Configuration as C
from pip._internal.models.index import PyPI
c = C(isolated=False); c.load()
d = dict(c.items())
flat = {k: v for s in d.values() for k, v in s.items()} if all(isinstance(v, dict) for v in d.values()) else d
print(flat.get('install.index-url') or flat.get('global.index-url') or PyPI.simple_url)";

/// Returns the package index that the user's pip is configured for, or pip's default. `python` is an interpreter.
pub fn index_url(python: &Path) -> Result<String> {
    if let Ok(url) = std::env::var("PIP_INDEX_URL")
        && !url.is_empty()
    {
        return Ok(url);
    }
    let shell = Shell::new()?;
    let output = cmd!(shell, "{python} -c {SCRIPT}").quiet().ignore_stderr().read();
    output.context("cannot read the package index from pip's configuration: set PIP_INDEX_URL")
}
