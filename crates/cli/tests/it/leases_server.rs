//! Leases that are tokens of a real OpenBao server: there while somebody works, gone after completion, error, stop, revocation
//! and a crash.

use rustix::process::Signal;
use serde_json::Value;

use crate::bao::{Bao, Storage, program};
use crate::console::{Place, wait_until};
use crate::leases::{begun, facts, stage, until_all_ended};
use crate::secrets::hand;

/// A home that has a server.
pub(crate) fn home_with(bao: &Bao) -> Place {
    let place = Place::new();
    place.ok(&["init", "--owner", "ada"]);
    settle_on(&place, bao);
    place
}

/// From its next holder on a home has this server.
fn settle_on(place: &Place, bao: &Bao) {
    let config = format!(
        "[vault]\naddress = \"{}\"\nca_cert = \"{}\"\nrole_id = \"{}\"\nsecret_id = \"{}\"\n",
        bao.address(),
        bao.ca().display(),
        bao.role_id,
        bao.secret_id.expose()
    );
    std::fs::write(place.home().join("eparch.toml"), config).unwrap();
}

/// Whether the server knows a token.
fn is_alive(bao: &Bao, accessor: &str) -> bool {
    bao.command(&["token", "lookup", "-accessor", accessor]).output().unwrap().status.success()
}

/// What a run bears in the server: its own token and its agent's.
fn borne(place: &Place) -> (String, String, String) {
    let run = place.json(&["runs", "show", "--last"])["pipeline_id"].as_str().unwrap().to_owned();
    let shown = place.json(&["token", "status", &run]);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (run, text(&shown["vault_accessor"]), text(&shown["agents"][0]["vault_accessor"]))
}

#[tokio::test(flavor = "multi_thread")]
async fn r136_r138_a_runs_token_is_one_of_the_server_and_ends_with_it() {
    let test = "leases_server::r136_r138_a_runs_token_is_one_of_the_server_and_ends_with_it";
    let Some(program) = program(test) else { return };
    let bao = Bao::start(&program, Storage::Raft).await;
    let place = home_with(&bao);
    assert_eq!(hand(&place, &["secrets", "put", "staging/db", "-f", "password"], "one-two-three").code, 0);

    // Completion, with a secret that is read wrapped; and an error.
    for (end, code) in [("true", 0), ("false", 1)] {
        let script = format!("eparch secret get staging/db -f password | sha256sum; {end}");
        let file = place.file("p.yaml", &stage("staging/db", &script));
        let said = place.say(&["--format", "json", "run", &file]);
        let digest = eparch_domain::Digest::of(b"one-two-three\n").hex();
        assert!(said.code == code && said.out.contains(&digest), "{said:?}");
    }
    until_all_ended(&place, 4);
    for known in facts(&place, "credential_known") {
        assert!(!is_alive(&bao, known["accessor"].as_str().unwrap()), "{known}");
    }

    // Stop, and revocation. Where a server is, every agent has a token of it.
    let file = place.file("q.yaml", &stage("", "echo begun; sleep 600"));
    for words in [&["runs", "stop"][..], &["token", "revoke", "--reason", "enough"]] {
        let going = place.start(&["--format", "json", "run", &file]);
        begun(&going);
        let (run, own, child) = borne(&place);
        let policies = bao.cli(&["token", "lookup", "-accessor", "-format=json", &own]);
        assert!(policies.contains("pipeline-agent") && policies.contains(&run), "{policies}");
        assert!(is_alive(&bao, &child));
        place.ok(&[words, &[&run]].concat());
        going.end();
        wait_until("the server knows neither", || {
            (!is_alive(&bao, &own) && !is_alive(&bao, &child)).then_some(())
        });
    }

    // A crash; and a token that nobody wrote down.
    let going = place.start(&["--format", "json", "run", &file]);
    begun(&going);
    let (_, own, child) = borne(&place);
    let looked: Value =
        serde_json::from_str(&bao.cli(&["token", "lookup", "-accessor", "-format=json", &own])).unwrap();
    let mut words = vec!["token".to_owned(), "create".to_owned(), "-field=token_accessor".to_owned()];
    words.push("-policy=pipeline-agent".to_owned());
    for (key, value) in looked["data"]["meta"].as_object().unwrap() {
        words.push(format!("-metadata={key}={}", value.as_str().unwrap()));
    }
    let orphan = bao.cli(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let others = bao.cli(&["token", "create", "-field=token_accessor", "-policy=pipeline-agent"]);
    assert!([&own, &child, &orphan].iter().all(|accessor| is_alive(&bao, accessor)));
    place.end_holder(Signal::KILL);
    // Whoever watches has another holder begin.
    going.end();
    wait_until("the server knows none of them", || {
        let mut accessors = [&own, &child, &orphan].into_iter();
        (!accessors.any(|accessor| is_alive(&bao, accessor))).then_some(())
    });
    assert!(is_alive(&bao, &others), "what is not this home's is not its to end");
    place.ok(&["ledger", "verify", "--replay"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn g4_an_agent_does_not_begin_without_its_token_and_what_is_to_end_waits_for_a_sealed_server() {
    let test = "leases_server::g4_an_agent_does_not_begin_without_its_token_and_what_is_to_end_waits_for_a_sealed_server";
    let Some(program) = program(test) else { return };
    let mut bao = Bao::start(&program, Storage::Raft).await;
    let place = home_with(&bao);
    let file = place.file("q.yaml", &stage("", "echo begun; sleep 600"));
    let going = place.start(&["--format", "json", "run", &file]);
    begun(&going);
    let (run, own, child) = borne(&place);
    bao.seal().await;
    let refused = place.say(&["--format", "json", "run", &file]);
    assert!(refused.code == 1 && refused.out.contains("EP0910"), "{refused:?}");
    // Its authority here is gone at once, although the server does not hear of it.
    place.ok(&["token", "revoke", &run, "--reason", "enough"]);
    let shown = place.json(&["token", "status", &run]);
    assert_eq!(
        (&shown["accessor"], &shown["owed"][0]["vault_accessor"]),
        (&Value::Null, &own.clone().into())
    );
    going.end();
    assert_eq!(facts(&place, "credential_ended").len(), 0);
    place.end_holder(Signal::KILL);
    bao.unseal().await;
    assert!(is_alive(&bao, &own) && is_alive(&bao, &child));
    place.ok(&["runs", "list"]);
    wait_until("the server has ended both", || {
        (!is_alive(&bao, &own) && !is_alive(&bao, &child)).then_some(())
    });
    until_all_ended(&place, 2);
}

/// The one token that a run's vault owes it an end of, once it was asked for and refused.
fn owed(place: &Place, run: &str, code: &str) -> Value {
    wait_until("a token is owed", || {
        let shown = place.json(&["token", "status", run]);
        (shown["owed"][0]["code"] == code).then(|| shown["owed"].clone())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn r140_what_a_server_does_not_end_is_owed_and_shown_until_it_has_whatever_vault_the_home_has_meanwhile()
 {
    let test = "leases_server::r140_what_a_server_does_not_end_is_owed_and_shown_until_it_has_whatever_vault_the_home_has_meanwhile";
    let Some(program) = program(test) else { return };
    let bao = Bao::start(&program, Storage::Memory).await;
    let place = home_with(&bao);
    let file = place.file("q.yaml", &stage("", "echo begun; sleep 600"));
    let going = place.start(&["--format", "json", "run", &file]);
    begun(&going);
    let (run, own, child) = borne(&place);
    let policy = bao.cli(&["policy", "read", "eparch-daemon"]);
    let set = |text: &str| {
        let written = place.file("policy.hcl", text);
        bao.cli(&["policy", "write", "eparch-daemon", &written]);
    };
    // Somebody takes from the daemon what it ends tokens with.
    set(&policy.replace("revoke-accessor", "revoke-nothing"));
    place.ok(&["token", "revoke", &run, "--reason", "enough"]);
    going.end();
    let refused = owed(&place, &run, "EP0911");
    assert_eq!((refused.as_array().unwrap().len(), &refused[0]["vault_accessor"]), (1, &own.clone().into()));
    let text = place.ok(&["token", "status", &run]);
    assert!(text.contains("EP0918") && text.contains(&own) && text.contains("has no lease"), "{text}");

    // Another server knows nothing of it, which does not mean that it has ended.
    place.end_holder(Signal::TERM);
    let other = Bao::start(&program, Storage::Memory).await;
    settle_on(&place, &other);
    let elsewhere = owed(&place, &run, "EP0919");
    assert!(elsewhere[0]["detail"].as_str().unwrap().contains(&bao.address()), "{elsewhere}");
    assert!(is_alive(&bao, &own) && is_alive(&bao, &child));
    assert_eq!(facts(&place, "credential_ended").len(), 0);

    place.end_holder(Signal::TERM);
    settle_on(&place, &bao);
    owed(&place, &run, "EP0911");
    set(&policy);
    wait_until("the server has ended both", || {
        (!is_alive(&bao, &own) && !is_alive(&bao, &child)).then_some(())
    });
    until_all_ended(&place, 2);
    assert_eq!(place.json(&["token", "status", &run]), serde_json::json!({ "pipeline_id": run }));
    place.ok(&["ledger", "verify", "--replay"]);
}
