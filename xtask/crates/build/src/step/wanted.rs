//! What a build misses, and how well a file of a Debian package fits that.

/// Something that a build misses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// A header, as in `#include`: `openssl/ssl.h`.
    Header(String),
    /// A library without `lib` and suffix: `yaml`.
    Library(String),
    /// A library that a program loads: `libX11.so.6`.
    SharedLibrary(String),
    /// A program: `pg_config`.
    Program(String),
    /// A module of pkg-config: `libcurl`.
    PkgConfig(String),
    /// A package of CMake: `OpenSSL`.
    CMake(String),
}

/// Files that fit worse than this are proposed only if no others exist.
const DOUBTFUL: usize = 100;

impl Wanted {
    /// Returns the name to show.
    pub fn name(&self) -> String {
        match self {
            Wanted::Header(name) | Wanted::SharedLibrary(name) | Wanted::Program(name) | Wanted::CMake(name) => {
                name.clone()
            }
            Wanted::Library(name) => format!("lib{name}.so"),
            Wanted::PkgConfig(name) => format!("{name}.pc"),
        }
    }

    /// Returns the ends of the paths that may fit. Each begins after a `/`.
    pub fn ends(&self) -> Vec<String> {
        match self {
            Wanted::Header(name) | Wanted::SharedLibrary(name) | Wanted::Program(name) => vec![name.clone()],
            Wanted::Library(name) => vec![format!("lib{name}.so"), format!("lib{name}.a")],
            Wanted::PkgConfig(name) => vec![format!("pkgconfig/{name}.pc")],
            Wanted::CMake(name) => {
                let lower = name.to_ascii_lowercase();
                let mut ends = vec![format!("{name}Config.cmake"), format!("{lower}-config.cmake")];
                for module in [name, &lower, &format!("lib{name}"), &format!("lib{lower}")] {
                    ends.push(format!("pkgconfig/{module}.pc"));
                }
                ends.dedup();
                ends
            }
        }
    }

    /// Returns how well a file fits, less being better; `None` if it does not. `path` is relative to the root folder.
    pub fn rank(&self, path: &str, multiarch: &str) -> Option<usize> {
        // Headers of Python packages must come from the build requirements.
        if path.contains("/dist-packages/") {
            return None;
        }
        let (kind, folder) = self.ends().iter().enumerate().find_map(|(kind, end)| {
            let folder = path.strip_suffix(end.as_str())?.strip_suffix('/')?;
            Some((kind, folder))
        })?;
        let depth = folder.split('/').count();
        let folder = folder.replace(&format!("/{multiarch}"), "");
        let below = |top: &str| folder == top || folder.starts_with(&format!("{top}/"));
        let rank = match self {
            Wanted::Header(_) if folder == "usr/include" => 0,
            Wanted::Header(_) if below("usr/include") => depth,
            Wanted::Header(_) if below("usr") => DOUBTFUL + depth,
            Wanted::Library(_) | Wanted::SharedLibrary(_) if folder == "usr/lib" || folder == "lib" => kind,
            Wanted::Library(_) | Wanted::SharedLibrary(_) if below("usr/lib") => DOUBTFUL + depth,
            Wanted::Program(_) if ["usr/bin", "bin", "usr/sbin", "sbin"].contains(&&*folder) => 0,
            Wanted::PkgConfig(_) if folder == "usr/lib" || folder == "usr/share" => 0,
            Wanted::CMake(_) if below("usr/lib") || below("usr/share") => kind,
            _ => return None,
        };
        Some(rank)
    }

    /// Returns the packages of `found` that have a fitting file, the best first. `found` has paths with the names of
    /// the packages that own them.
    pub fn choose(&self, found: &[(String, Vec<String>)], multiarch: &str) -> Vec<String> {
        let program = matches!(self, Wanted::Program(_));
        let mut ranked: Vec<_> = found
            .iter()
            .filter_map(|(path, owners)| Some((self.rank(path, multiarch)?, owners)))
            .flat_map(|(rank, owners)| owners.iter().map(move |owner| (rank, owner)))
            .map(|(rank, owner)| {
                let development = match self {
                    Wanted::Program(_) => true,
                    Wanted::SharedLibrary(_) => !owner.ends_with("-dev"),
                    _ => owner.ends_with("-dev"),
                };
                // libcurl has a package for each TLS library; OpenSSL is the one that Python uses.
                let openssl = owner.contains("openssl");
                // `krb5-config` and the like belong to the libraries that they describe.
                let library = program && owner.starts_with("lib");
                (rank, !development, !openssl, !library, owner.len(), owner.clone())
            })
            .collect();
        ranked.sort();
        let certain = ranked.first().is_some_and(|(rank, ..)| *rank < DOUBTFUL);
        let mut names: Vec<String> = Vec::new();
        for (rank, .., name) in ranked {
            if (rank < DOUBTFUL || !certain) && !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::Wanted;

    fn choose(wanted: Wanted, found: &[(&str, &str)]) -> Vec<String> {
        let found: Vec<(String, Vec<String>)> = found
            .iter()
            .map(|(path, owners)| (path.to_string(), owners.split(',').map(str::to_owned).collect()))
            .collect();
        wanted.choose(&found, "x86_64-linux-gnu")
    }

    #[test]
    fn the_package_with_the_header_at_the_shortest_path_is_first() {
        let found = [
            ("usr/i686-w64-mingw32/include/zlib.h", "libz-mingw-w64-dev"),
            ("usr/include/tcl/zlib.h", "a-dev"),
            ("usr/include/zlib.h", "zlib1g-dev"),
            ("usr/share/doc/my-zlib.h", "b-dev"),
        ];
        assert_eq!(choose(Wanted::Header("zlib.h".to_owned()), &found), ["zlib1g-dev", "a-dev"]);
        let curl = "libcurl4-gnutls-dev,libcurl4-nss-dev,libcurl4-openssl-dev";
        let found = [("usr/include/x86_64-linux-gnu/curl/curl.h", curl)];
        assert_eq!(choose(Wanted::Header("curl/curl.h".to_owned()), &found)[0], "libcurl4-openssl-dev");
        let found = [("usr/lib/jvm/java-17-openjdk-amd64/include/jni.h", "openjdk-17-jdk-headless")];
        assert_eq!(choose(Wanted::Header("jni.h".to_owned()), &found), ["openjdk-17-jdk-headless"]);
        let found = [("usr/lib/python3/dist-packages/numpy/core/include/numpy/npy.h", "python3-numpy")];
        assert!(choose(Wanted::Header("numpy/npy.h".to_owned()), &found).is_empty());
    }

    #[test]
    fn programs_libraries_and_descriptions_of_libraries_are_found_where_tools_search() {
        let found =
            [("usr/bin/pg_config", "libpq-dev"), ("usr/share/doc/pg_config", "a"), ("usr/bin/x-pg_config", "b")];
        assert_eq!(choose(Wanted::Program("pg_config".to_owned()), &found), ["libpq-dev"]);
        let curl = [("usr/bin/curl-config", "libcurl4-gnutls-dev,libcurl4-nss-dev,libcurl4-openssl-dev")];
        assert_eq!(choose(Wanted::Program("curl-config".to_owned()), &curl)[0], "libcurl4-openssl-dev");
        let found = [("usr/bin/krb5-config", "heimdal-dev,libkrb5-dev")];
        assert_eq!(choose(Wanted::Program("krb5-config".to_owned()), &found), ["libkrb5-dev", "heimdal-dev"]);
        let found = [("usr/lib/x86_64-linux-gnu/libyaml.a", "static-dev"), ("usr/lib/libyaml.so", "libyaml-dev")];
        assert_eq!(choose(Wanted::Library("yaml".to_owned()), &found), ["libyaml-dev", "static-dev"]);
        let found = [
            ("usr/lib/x86_64-linux-gnu/libX11.so.6", "libx11-6"),
            ("usr/lib/x86_64-linux-gnu/libX11.so.6", "all-dev"),
            ("usr/lib/browser/libX11.so.6", "browser"),
        ];
        assert_eq!(choose(Wanted::SharedLibrary("libX11.so.6".to_owned()), &found), ["libx11-6", "all-dev"]);
        let found = [("usr/lib/x86_64-linux-gnu/pkgconfig/libxml-2.0.pc", "libxml2-dev")];
        assert_eq!(choose(Wanted::PkgConfig("libxml-2.0".to_owned()), &found), ["libxml2-dev"]);
        let found = [
            ("usr/lib/x86_64-linux-gnu/pkgconfig/libcurl.pc", "libcurl4-openssl-dev"),
            ("usr/lib/x86_64-linux-gnu/cmake/CURL/CURLConfig.cmake", "curl-dev"),
        ];
        assert_eq!(choose(Wanted::CMake("CURL".to_owned()), &found), ["curl-dev", "libcurl4-openssl-dev"]);
    }
}
