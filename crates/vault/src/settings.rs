//! What can be set: `[vault]` of `eparch.toml`, and the names that others know it by.

use std::net::IpAddr;
use std::path::PathBuf;

use eparch_domain::{Span, limits};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::embedded::{SealKey, SealKeyError};
use crate::secret::Secret;

/// The variable that may hold the key of the sealed store, 64 hexadecimal digits, in the place of the home's file.
pub const KEY_VARIABLE: &str = "EPARCH_VAULT_KEY";

/// The variables that say where the vault is and how to log in.
pub const SERVER_VARIABLES: [&str; 4] = ["VAULT_ADDR", "VAULT_CACERT", "VAULT_ROLE_ID", "VAULT_SECRET_ID"];

/// Where credentials come from. Without an address, from the sealed store in the home.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// A server that speaks the Vault API, as in `https://vault.example.org:8200`. Plain `http` only to this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The file (PEM) with the CA that signed the server's certificate. No other CA is trusted, not even the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_cert: Option<PathBuf>,
    /// The AppRole Eparch logs in with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_id: Option<String>,
    /// Its secret. Better given as `VAULT_SECRET_ID` than in a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_id: Option<Secret>,
    /// The key of the sealed store, where it is not a file of the home. Only the environment says it.
    #[serde(skip)]
    pub key: Option<Secret>,
    /// How long connecting may take, TLS included.
    pub connect_timeout: Span,
    /// How long one request may take in all.
    pub timeout: Span,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            address: None,
            ca_cert: None,
            role_id: None,
            secret_id: None,
            key: None,
            connect_timeout: limits::VAULT_CONNECT_TIMEOUT,
            timeout: limits::VAULT_TIMEOUT,
        }
    }
}

impl Settings {
    /// Takes what the environment says over what the file says: `VAULT_ADDR`, `VAULT_CACERT`, `VAULT_ROLE_ID`,
    /// `VAULT_SECRET_ID`; and [`KEY_VARIABLE`], which no file says. An empty variable says nothing.
    pub fn overridden(mut self, variable: impl Fn(&str) -> Option<String>) -> Settings {
        let set = |name: &str| variable(name).filter(|text| !text.is_empty());
        self.address = set("VAULT_ADDR").or(self.address);
        self.ca_cert = set("VAULT_CACERT").map(PathBuf::from).or(self.ca_cert);
        self.role_id = set("VAULT_ROLE_ID").or(self.role_id);
        self.secret_id = set("VAULT_SECRET_ID").map(Secret::new).or(self.secret_id);
        self.key = set(KEY_VARIABLE).map(Secret::new).or(self.key);
        self
    }

    /// The key of the sealed store, when the environment said it.
    pub fn seal_key(&self) -> Result<Option<SealKey>, SealKeyError> {
        self.key.as_ref().map(|key| SealKey::from_variable(KEY_VARIABLE, key.expose())).transpose()
    }

    /// Whether this can work; the problem names the key.
    pub fn check(&self) -> Result<(), String> {
        let longest = Span::from_secs(60);
        for (key, span) in [("connect_timeout", self.connect_timeout), ("timeout", self.timeout)] {
            if span < Span::from_millis(100) || span > longest {
                return Err(format!("vault.{key} is {span}; it must be between 100ms and 60s"));
            }
        }
        if self.connect_timeout > self.timeout {
            return Err(format!(
                "vault.connect_timeout is {}, longer than vault.timeout, which is {}",
                self.connect_timeout, self.timeout
            ));
        }
        self.seal_key().map_err(|problem| problem.to_string())?;
        let Some(address) = &self.address else {
            let others = [
                ("ca_cert", self.ca_cert.is_some()),
                ("role_id", self.role_id.is_some()),
                ("secret_id", self.secret_id.is_some()),
            ];
            return match others.iter().find(|(_, is_set)| *is_set) {
                Some((key, _)) => Err(format!("vault.{key} is set, and vault.address is not")),
                None => Ok(()),
            };
        };
        let Address { is_tls, .. } = Address::parse(address)?;
        match &self.ca_cert {
            None if is_tls => {
                return Err("vault.ca_cert is not set: the file with the CA that signed the certificate of \
                            vault.address; where the system trusts it, that may be /etc/ssl/certs/ca-certificates.crt"
                    .to_owned());
            }
            Some(_) if !is_tls => {
                return Err("vault.ca_cert is set, and vault.address is not https".to_owned());
            }
            Some(path) if !path.is_absolute() => {
                return Err(format!("vault.ca_cert: {} must be an absolute path", path.display()));
            }
            _ => {}
        }
        let is_fine = |text: &str| !text.is_empty() && text.len() <= 4_096;
        if !self.role_id.as_deref().is_some_and(is_fine) {
            return Err("vault.role_id is not set: the AppRole that Eparch logs in with".to_owned());
        }
        if !self.secret_id.as_ref().is_some_and(|secret| is_fine(secret.expose())) {
            return Err(
                "vault.secret_id is not set: the secret of the AppRole, best given as VAULT_SECRET_ID"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

/// Where a server is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// A name or a number; in brackets when it has colons.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) is_tls: bool,
}

impl Address {
    pub(crate) fn parse(text: &str) -> Result<Address, String> {
        // What stands before an @ would be a password; nothing of the text is repeated.
        let bad = || "vault.address is not written as https://HOST:PORT".to_owned();
        let uri: hyper::Uri = text.parse().map_err(|_| bad())?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(bad()),
        };
        let authority = uri.authority().ok_or_else(bad)?;
        if authority.as_str().contains('@') || !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(bad());
        }
        let host = authority.host().to_owned();
        // A port that is none is passed over by `port_u16`.
        let port = match (authority.port_u16(), authority.as_str().strip_prefix(host.as_str())) {
            (Some(port), _) if port > 0 => port,
            (None, Some("")) => 8200,
            _ => return Err(bad()),
        };
        if host.is_empty() {
            return Err(bad());
        }
        if !is_tls && !is_this_machine(&host) {
            return Err("vault.address is http to another machine, where anybody on the way could read tokens; use https"
                .to_owned());
        }
        Ok(Address { host, port, is_tls })
    }
}

fn is_this_machine(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole() -> Settings {
        Settings {
            address: Some("https://127.0.0.1:8200".to_owned()),
            ca_cert: Some("/etc/ca.pem".into()),
            role_id: Some("role".to_owned()),
            secret_id: Some("hunter2".into()),
            ..Settings::default()
        }
    }

    #[test]
    fn r125_settings_that_cannot_work_are_refused_by_the_name_of_the_key() {
        assert_eq!(Settings::default().check(), Ok(()));
        assert_eq!(whole().check(), Ok(()));
        let problem = |change: fn(&mut Settings)| {
            let mut settings = whole();
            change(&mut settings);
            settings.check().unwrap_err()
        };
        type Case = (fn(&mut Settings), &'static str);
        let cases: [Case; 11] = [
            (|s| s.address = Some("vault.example.org".to_owned()), "vault.address is not written"),
            (|s| s.address = None, "vault.ca_cert is set, and vault.address is not"),
            (|s| s.ca_cert = None, "vault.ca_cert is not set"),
            (|s| s.ca_cert = Some("ca.pem".into()), "vault.ca_cert: ca.pem must be an absolute path"),
            (|s| s.address = Some("http://127.0.0.1:8200".to_owned()), "vault.ca_cert is set, and"),
            (|s| s.role_id = None, "vault.role_id is not set"),
            (|s| s.role_id = Some(String::new()), "vault.role_id is not set"),
            (|s| s.secret_id = None, "vault.secret_id is not set"),
            (|s| s.timeout = Span::ZERO, "vault.timeout is 0s; it must be between"),
            (|s| s.connect_timeout = Span::from_hours(1), "vault.connect_timeout is 1h; it must be between"),
            (
                |s| s.connect_timeout = Span::from_secs(5),
                "vault.connect_timeout is 5s, longer than vault.timeout",
            ),
        ];
        for (change, expected) in cases {
            let told = problem(change);
            assert!(told.starts_with(expected), "{told}");
        }
    }

    #[test]
    fn an_address_is_a_scheme_a_host_and_a_port() {
        let host = |text: &str| Address::parse(text).map(|address| (address.host, address.port));
        assert_eq!(host("https://vault.example.org"), Ok(("vault.example.org".to_owned(), 8200)));
        assert_eq!(host("https://[::1]:8300/"), Ok(("[::1]".to_owned(), 8300)));
        assert_eq!(host("http://localhost:1"), Ok(("localhost".to_owned(), 1)));
        let with_password = format!("https://u:{}@a", "hunter2");
        for bad in [
            "",
            "https://",
            "ftp://a",
            with_password.as_str(),
            "https://a/v1",
            "https://a?b",
            "https://a:99999",
            "https://a:0",
            "https://a:x",
            "a b",
        ] {
            let told = host(bad).unwrap_err();
            assert!(told.contains("vault.address") && !told.contains("hunter2"), "{bad}: {told}");
        }
        assert!(host("http://vault.example.org").unwrap_err().contains("use https"));
    }

    #[test]
    fn the_environment_is_taken_over_the_file() {
        let settings = whole().overridden(|name| match name {
            "VAULT_ADDR" => Some("https://other:1".to_owned()),
            "VAULT_SECRET_ID" => Some("from outside".to_owned()),
            "VAULT_ROLE_ID" => Some(String::new()),
            _ => None,
        });
        assert_eq!(settings.address.as_deref(), Some("https://other:1"));
        assert_eq!(settings.secret_id, Some("from outside".into()));
        assert_eq!(settings.role_id, whole().role_id);
        assert!(settings.seal_key().unwrap().is_none());
        let digits = "0123456789abcdef".repeat(4);
        let keyed = |text: &str| {
            let said = |name: &str| (name == KEY_VARIABLE).then(|| text.to_owned());
            Settings::default().overridden(said)
        };
        assert!(keyed(&digits).check().is_ok() && keyed(&digits).seal_key().unwrap().is_some());
        let told = keyed(&digits[1..]).check().unwrap_err();
        assert!(told.starts_with("EPARCH_VAULT_KEY does not hold") && !told.contains("cdef0123"), "{told}");
    }

    #[test]
    fn g8_settings_are_shown_without_the_secret() {
        let settings = whole();
        let shown = format!("{settings:?} {}", serde_json::to_string(&settings).unwrap());
        assert!(!shown.contains("hunter2") && shown.contains("(secret)"), "{shown}");
        let read: Settings =
            toml::from_str("address = \"https://a\"\nsecret_id = \"hunter2\"\ntimeout = \"3s\"\n").unwrap();
        assert_eq!((read.secret_id, read.timeout), (Some("hunter2".into()), Span::from_secs(3)));
        assert!(toml::from_str::<Settings>("adress = \"x\"\n").unwrap_err().to_string().contains("adress"));
    }

    proptest! {
        #[test]
        fn no_address_makes_the_reader_panic(text in "\\PC{0,60}|https?://[a-z@:\\[\\]0-9./?]{0,20}") {
            let _ = Address::parse(&text);
        }
    }
}
