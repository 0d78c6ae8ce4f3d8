//! Secrets of people in a real OpenBao server, by the same commands.

use rustix::process::Signal;
use serde_json::json;

use crate::bao::{Bao, Storage, program};
use crate::console::Place;
use crate::secrets::hand;

#[tokio::test(flavor = "multi_thread")]
async fn r125_r126_secrets_are_put_and_read_in_a_server_and_its_health_is_known() {
    let test = "secrets_server::r125_r126_secrets_are_put_and_read_in_a_server_and_its_health_is_known";
    let Some(program) = program(test) else { return };
    let mut bao = Bao::start(&program, Storage::Raft).await;
    let place = Place::new();
    place.ok(&["init", "--owner", "ada"]);
    let config = format!(
        "[vault]\naddress = \"{}\"\nca_cert = \"{}\"\nrole_id = \"{}\"\n",
        bao.address(),
        bao.ca().display(),
        bao.role_id
    );
    std::fs::write(place.home().join("eparch.toml"), &config).unwrap();
    let refused = place.say(&["secrets", "status"]);
    assert!(refused.code == 78 && refused.err.contains("vault.secret_id is not set"), "{refused:?}");
    let secret_id = bao.secret_id.expose().to_owned();
    let started =
        place.say_with(&[("VAULT_SECRET_ID", &secret_id)], &["secrets", "status", "--format", "json"]);
    let status: serde_json::Value = serde_json::from_str(&started.out).unwrap();
    assert_eq!(
        (&status["kind"], &status["place"], &status["usable"], &status["sealed"]),
        (&"server".into(), &bao.address().into(), &true.into(), &false.into())
    );
    // From here on the file says it: a holder that has left takes the next one's variables along.
    std::fs::write(place.home().join("eparch.toml"), format!("{config}secret_id = \"{secret_id}\"\n"))
        .unwrap();
    let settings = place.ok(&["config", "show"]);
    assert!(settings.contains("(secret)") && !settings.contains(&secret_id), "{settings}");
    let put = |words: &[&str], input: &str| hand(&place, &[&["secrets", "put"], words].concat(), input);
    assert_eq!(put(&["inventory/hosts", "-f", "password", "--cas", "0"], "one\n").code, 0);
    assert_eq!(
        put(&["inventory/hosts", "-f", "password"], "two").out,
        "Wrote version 2 of inventory/hosts.\n"
    );
    let late = put(&["inventory/hosts", "--cas", "1"], "late");
    assert!(late.code == 1 && late.err.contains("EP0904"), "{late:?}");
    let shown = place.json(&["secrets", "get", "inventory/hosts", "--version", "1"]);
    assert_eq!(shown["fields"], json!({ "password": "one" }));
    assert_eq!(place.ok(&["secrets", "get", "inventory/hosts", "-f", "password"]), "two\n");
    assert_eq!(place.ok(&["secrets", "list", "inventory"]), "hosts\n");
    assert!(place.say(&["secrets", "get", "nowhere"]).err.contains("EP0903"));
    assert_eq!(bao.cli(&["kv", "get", "-mount=secret", "-field=password", "inventory/hosts"]), "two");
    assert!(!place.home().join("vault.sealed").exists());

    bao.seal().await;
    let read = place.say(&["secrets", "get", "inventory/hosts"]);
    assert!(read.code == 69 && read.err.contains("EP0902"), "{read:?}");
    let status = place.say(&["secrets", "status"]);
    assert!(status.code == 69 && status.out.contains("it waits for its keys"), "{status:?}");
    bao.unseal().await;
    assert_eq!(place.ok(&["secrets", "get", "inventory/hosts", "-f", "password"]), "two\n");
    bao.kill();
    let read = place.say(&["secrets", "get", "inventory/hosts"]);
    assert!(read.code == 69 && read.err.contains("EP0902"), "{read:?}");
    let doctor = place.say(&["doctor"]);
    assert!(doctor.out.contains("EP0902"), "{doctor:?}");
    let trail = place.ok(&["ledger", "export"]);
    assert!(!trail.contains(&secret_id));
    place.end_holder(Signal::TERM);
    place.ok(&["ledger", "verify", "--replay"]);
}
