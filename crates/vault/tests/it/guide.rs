//! What `docs/vault.md` tells people to run makes a server ready.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use eparch_vault::Secret;
use tokio::task::LocalSet;

use crate::bao::{Bao, Storage, program};
use crate::contract;
use crate::home::Home;

/// The commands between two marks of the guide.
fn commands(mark: &str) -> String {
    let guide = include_str!("../../../../docs/vault.md");
    let (_, rest) = guide.split_once(&format!("<!-- {mark} -->\n```sh\n")).unwrap();
    let (commands, _) = rest.split_once(&format!("```\n<!-- /{mark} -->")).unwrap();
    commands.to_owned()
}

#[tokio::test]
async fn r127_r128_the_guide_makes_a_server_ready() {
    let Some(program) = program("guide::r127_r128_the_guide_makes_a_server_ready") else { return };
    let mut bao = Bao::start_bare(&program, Storage::Memory).await;
    let tools = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(&program, tools.path().join("bao")).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let run = |script: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-eu", "-c", script]).current_dir(&root).stdin(Stdio::null()).env_clear();
        shell.env("PATH", format!("{}:/usr/bin:/bin", tools.path().display())).env("HOME", tools.path());
        shell.env("BAO_ADDR", bao.address()).env("BAO_CACERT", bao.ca()).env("BAO_TOKEN", bao.root.expose());
        let output = shell.output().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    };
    run(&commands("ready"));
    let login: Vec<String> = commands("login").lines().map(run).collect();
    let [role_id, secret_id] = login.try_into().unwrap();
    (bao.role_id, bao.secret_id) = (role_id, Secret::new(secret_id));
    let home = Arc::new(Home::on(bao));
    let local = LocalSet::new();
    for family in ["children", "kv", "policies", "wrapping"] {
        local.run_until(contract::hold(Arc::clone(&home), family)).await;
    }
}
