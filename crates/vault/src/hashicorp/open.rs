//! From settings to a server that can be asked. Nothing is asked yet.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use eparch_domain::Name;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use super::Hashicorp;
use super::client::{Client, Server, Tls};
use super::session::Session;
use crate::settings::{Address, Settings};

/// Why a server cannot even be asked.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// What settings say cannot work.
    #[error("{0}")]
    Settings(String),
    /// The CA's file cannot be read.
    #[error("vault.ca_cert: cannot read {}", path.display())]
    CaUnreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The CA's file holds none.
    #[error("vault.ca_cert: {} holds no certificate that can be used (PEM is expected)", path.display())]
    CaBad {
        /// The file.
        path: PathBuf,
    },
}

/// A bundle of every CA of a system has a few hundred KiB.
const CA_BYTES: u64 = 4 << 20;

impl Hashicorp {
    /// A vault in the server that settings name, for a home of this name. It is asked nothing yet, so it need not be there.
    pub fn new(settings: &Settings, home: Name) -> Result<Hashicorp, ConnectError> {
        settings.check().map_err(ConnectError::Settings)?;
        let missing = || ConnectError::Settings("vault.address is not set".to_owned());
        let address = settings.address.as_deref().ok_or_else(missing)?;
        let Address { host, port, is_tls } = Address::parse(address).map_err(ConnectError::Settings)?;
        let tls = match &settings.ca_cert {
            Some(path) if is_tls => {
                let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
                let name = ServerName::try_from(bare).map_err(|_| {
                    ConnectError::Settings(format!("vault.address: {host} is no name of a server"))
                })?;
                Some(Tls { config: Arc::new(trusting(path.clone())?), name })
            }
            _ => None,
        };
        let server = Server { host, port, tls };
        let client = Client::new(server, settings.connect_timeout, settings.timeout);
        // Checked above to be there.
        let role_id = settings.role_id.clone().unwrap_or_default();
        let secret_id = settings.secret_id.clone().unwrap_or_default();
        let session = Session::new(role_id, secret_id);
        Ok(Hashicorp { client, session, home, renewals: Mutex::default() })
    }
}

/// Trusts what the CA in a file signed, and nothing else.
fn trusting(path: PathBuf) -> Result<ClientConfig, ConnectError> {
    let mut pem = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(CA_BYTES).read_to_end(&mut pem));
    if let Err(source) = read {
        return Err(ConnectError::CaUnreadable { path, source });
    }
    let mut roots = RootCertStore::empty();
    for found in CertificateDer::pem_slice_iter(&pem) {
        let added = found.ok().map(|certificate| roots.add(certificate));
        if !matches!(added, Some(Ok(()))) {
            return Err(ConnectError::CaBad { path });
        }
    }
    if roots.is_empty() {
        return Err(ConnectError::CaBad { path });
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring speaks TLS 1.3");
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
