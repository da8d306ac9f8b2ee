//! Reads the proxies from the docker client's `config.json`: <https://docs.docker.com/engine/cli/proxy/>.

use anyhow::Result;
use serde_json::Value;

use crate::endpoint;

/// The names in `config.json`, each with the name of the variable.
const NAMES: [(&str, &str); 4] =
    [("httpProxy", "http_proxy"), ("httpsProxy", "https_proxy"), ("noProxy", "no_proxy"), ("allProxy", "all_proxy")];

/// Returns the proxy variables that the docker client would set in a container, in lower case and in upper case.
pub fn proxies() -> Result<Vec<(String, String)>> {
    let env = |name: &str| std::env::var(name).ok();
    let config = endpoint::read_config(&env)?;
    if config["proxies"].is_null() {
        return Ok(Vec::new());
    }
    Ok(for_engine(&config, &endpoint::resolve(&env)?.host))
}

/// Returns the proxies for one engine if the file has any, otherwise those of `default`.
fn for_engine(config: &Value, host: &str) -> Vec<(String, String)> {
    let proxies = &config["proxies"];
    let chosen = if proxies[host].is_object() { &proxies[host] } else { &proxies["default"] };
    let named = NAMES.iter().filter_map(|(name, variable)| Some((*variable, chosen[*name].as_str()?)));
    let named = named.filter(|(_, value)| !value.is_empty());
    named
        .flat_map(|(name, value)| [name.to_owned(), name.to_uppercase()].map(|name| (name, value.to_owned())))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_proxies_of_an_engine_replace_the_default_ones() {
        let config = json!({"proxies": {
            "default": {"httpProxy": "http://a:1", "noProxy": "", "httpsProxy": 7},
            "tcp://b:2375": {"httpsProxy": "http://c:2"},
        }});
        let found = |host: &str| for_engine(&config, host);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let default = [pair("http_proxy", "http://a:1"), pair("HTTP_PROXY", "http://a:1")];
        assert_eq!(found("unix:///var/run/docker.sock"), default);
        assert_eq!(found("tcp://b:2375"), [pair("https_proxy", "http://c:2"), pair("HTTPS_PROXY", "http://c:2")]);
        assert_eq!(for_engine(&json!({}), "x"), []);
    }
}
