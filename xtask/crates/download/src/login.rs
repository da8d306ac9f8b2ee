//! Reads logins from the user's `.netrc`, like pip and curl.

use std::path::PathBuf;

/// User name and password for a host, or for all other hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    pub host: Option<String>,
    pub name: String,
    pub password: String,
}

/// Reads the logins from the file named by `NETRC`, else from `~/.netrc`. Empty if the file does not exist.
pub fn read() -> Vec<Login> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let path = variable("NETRC").or_else(|| Some(variable("HOME")?.join(".netrc")));
    let text = path.and_then(|path| std::fs::read_to_string(path).ok());
    parse(&text.unwrap_or_default())
}

/// Returns the login for a host.
pub fn find<'l>(logins: &'l [Login], host: &str) -> Option<&'l Login> {
    let of = |login: &&Login| login.host.as_deref().is_none_or(|known| known.eq_ignore_ascii_case(host));
    logins.iter().find(of)
}

fn parse(text: &str) -> Vec<Login> {
    let mut logins: Vec<Login> = Vec::new();
    let mut lines = text.lines();
    let mut words: Vec<&str> = Vec::new();
    while let Some(line) = lines.next() {
        // A password may start with `#`.
        let line = if line.trim_start().starts_with('#') { "" } else { line };
        for word in line.split_whitespace() {
            if word == "macdef" {
                // An empty line ends a macro.
                lines.by_ref().find(|line| line.trim().is_empty());
                break;
            }
            words.push(word);
        }
    }
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let empty = |host| Login { host, name: String::new(), password: String::new() };
        match (word, logins.last_mut()) {
            ("default", _) => logins.push(empty(None)),
            ("machine", _) => logins.extend(words.next().map(|host| empty(Some(host.to_owned())))),
            ("login", Some(login)) => login.name = words.next().unwrap_or_default().to_owned(),
            ("password", Some(login)) => login.password = words.next().unwrap_or_default().to_owned(),
            ("account", _) => drop(words.next()),
            _ => {}
        }
    }
    logins
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_netrc_is_read() {
        let text = "# mine\nmachine index.example login me password secret\n\
                    macdef init\nmachine evil.example\n\nmachine b.example\n  login you\n  account x\n  password #1\n\
                    default login anyone password none\n";
        let logins = parse(text);
        let of = |host| find(&logins, host).map(|login| (&*login.name, &*login.password));
        assert_eq!(of("Index.Example"), Some(("me", "secret")));
        assert_eq!(of("evil.example"), Some(("anyone", "none")));
        assert_eq!(of("b.example"), Some(("you", "#1")));
        assert_eq!(find(&logins[..1], "b.example"), None);
    }
}
