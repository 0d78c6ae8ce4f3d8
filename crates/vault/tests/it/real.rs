//! What is special to a server: TLS, being sealed, restarted and killed, logging in, and not being alone there.

use std::sync::Arc;
use std::time::Instant;

use eparch_domain::{Span, Tier};
use eparch_vault::{
    Accessor, Ending, Policy, Reader, RunGrant, SecretPath, Token, Vault, VaultError, tier_policy,
};

use crate::bao::{Bao, Storage, certificates, program};
use crate::home::{HOUR, Home, MINUTE, agent, fields, place, run};

fn grant() -> RunGrant {
    RunGrant { run: run(), tier: Tier::T2, ttl: HOUR }
}

async fn start(test: &str, storage: Storage) -> Option<Bao> {
    Some(Bao::start(&program(test)?, storage).await)
}

#[tokio::test]
async fn r125_only_the_right_ca_and_the_right_name_are_trusted() {
    let Some(bao) = start("r125_only_the_right_ca_and_the_right_name_are_trusted", Storage::Memory).await
    else {
        return;
    };
    assert!(bao.hashicorp().issue_run(grant()).await.is_ok());

    let other = tempfile::tempdir().unwrap();
    certificates(other.path());
    let wrong = bao.hashicorp_with(|settings| settings.ca_cert = Some(other.path().join("ca.pem")));
    let why = |asked: Result<_, VaultError>| match asked {
        Err(VaultError::Untrusted { why, .. }) => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(why(wrong.issue_run(grant()).await), "it is not signed by the CA in vault.ca_cert");
    assert!(!wrong.health().await.unwrap_err().is_retryable());

    let renamed = bao.hashicorp_with(|settings| {
        settings.address = settings.address.as_ref().map(|address| address.replace("127.0.0.1", "localhost"));
    });
    let told = why(renamed.issue_run(grant()).await);
    assert_eq!(told, "it was made for another name than that of vault.address");

    // Without TLS, the server says something that is no answer of a vault.
    let plain = bao.hashicorp_with(|settings| {
        settings.address = settings.address.as_ref().map(|address| address.replace("https", "http"));
        settings.ca_cert = None;
    });
    let told = plain.health().await;
    assert!(matches!(told, Err(VaultError::Malformed { .. } | VaultError::CutOff { .. })), "{told:?}");
}

#[tokio::test]
async fn g4_a_sealed_server_gives_no_authority_and_forgets_nothing() {
    let Some(mut bao) =
        start("g4_a_sealed_server_gives_no_authority_and_forgets_nothing", Storage::Memory).await
    else {
        return;
    };
    let vault = bao.hashicorp();
    let path = place("inventory");
    vault.write(&path, fields(&[("password", "x")]), None).await.unwrap();
    let run = vault.issue_run(grant()).await.unwrap();
    bao.seal().await;

    let health = vault.health().await.unwrap();
    assert!(health.sealed && health.initialized && !health.is_usable());
    let all: [Result<(), VaultError>; 7] = [
        vault.issue_run(grant()).await.map(drop),
        vault.lookup(&run.status.accessor).await.map(drop),
        vault.renew(&run.status.accessor, HOUR).await.map(drop),
        vault.revoke(&run.status.accessor).await,
        vault.find(None).await.map(drop),
        vault.read(Reader::Daemon, &path, None).await.map(drop),
        vault.read(Reader::Token(&run.token), &path, None).await.map(drop),
    ];
    for asked in all {
        let error = asked.unwrap_err();
        assert!(matches!(error, VaultError::Sealed) && error.is_retryable(), "{error:?}");
    }
    // Somebody who was not logged in before is told the same.
    assert!(matches!(bao.hashicorp().find(None).await, Err(VaultError::Sealed)));

    bao.unseal().await;
    assert!(vault.read(Reader::Daemon, &path, None).await.is_ok());
    assert_eq!(vault.lookup(&run.status.accessor).await.unwrap().run, run.status.run);
}

#[tokio::test]
async fn g7_what_a_server_acknowledged_outlives_its_being_killed() {
    let Some(mut bao) = start("g7_what_a_server_acknowledged_outlives_its_being_killed", Storage::Raft).await
    else {
        return;
    };
    let vault = bao.hashicorp();
    let path = place("inventory");
    vault.write(&path, fields(&[("password", "x")]), None).await.unwrap();
    let (kept, revoked) = (vault.issue_run(grant()).await.unwrap(), vault.issue_run(grant()).await.unwrap());
    vault.revoke(&revoked.status.accessor).await.unwrap();
    bao.start_again().await;
    assert!(matches!(vault.lookup(&kept.status.accessor).await, Err(VaultError::Sealed)));
    bao.unseal().await;
    // The same vault goes on: its connections are gone, its own token is not.
    assert_eq!(vault.lookup(&kept.status.accessor).await.unwrap().run, kept.status.run);
    let over = vault.lookup(&revoked.status.accessor).await;
    assert!(matches!(over, Err(VaultError::Ended { how: Ending::Unknown })), "{over:?}");
    assert_eq!(vault.read(Reader::Daemon, &path, None).await.unwrap().version, 1);
    let found = vault.find(Some(kept.status.run)).await.unwrap();
    assert_eq!(found.len(), 1, "an orphan of a crash is found");
}

#[tokio::test]
async fn r125_a_server_killed_in_mid_flight_is_told_in_time_and_found_again() {
    let name = "r125_a_server_killed_in_mid_flight_is_told_in_time_and_found_again";
    let Some(mut bao) = start(name, Storage::Raft).await else { return };
    let limit = Span::from_secs(3);
    let vault = Arc::new(bao.hashicorp_with(|settings| {
        (settings.connect_timeout, settings.timeout) = (limit, limit);
    }));
    let path = place("inventory");
    vault.write(&path, fields(&[("password", "x")]), None).await.unwrap();

    let (sender, mut begun) = tokio::sync::mpsc::unbounded_channel();
    let readers: Vec<_> = (0..8)
        .map(|_| {
            let (vault, path, begun) = (Arc::clone(&vault), path.clone(), sender.clone());
            tokio::spawn(async move {
                loop {
                    let asked = Instant::now();
                    match vault.read(Reader::Daemon, &path, None).await {
                        Ok(_) => drop(begun.send(())),
                        Err(error) => return (error, asked.elapsed()),
                    }
                }
            })
        })
        .collect();
    for _ in 0..100 {
        begun.recv().await.unwrap();
    }
    bao.kill();
    for reader in readers {
        let (error, took) = reader.await.unwrap();
        assert!(error.is_retryable(), "{error:?}");
        let kind = matches!(
            error,
            VaultError::CutOff { .. } | VaultError::Unreachable { .. } | VaultError::TimedOut { .. }
        );
        // One call may ask more than once, each within the limit.
        assert!(kind && took < limit.as_duration() * 4, "{error:?} after {took:?}");
    }
    let gone = vault.health().await;
    assert!(matches!(gone, Err(VaultError::Unreachable { .. })), "{gone:?}");

    bao.start_again().await;
    bao.unseal().await;
    assert_eq!(vault.read(Reader::Daemon, &path, None).await.unwrap().version, 1);
}

#[tokio::test]
async fn r127_logging_in_takes_the_right_role_and_the_right_secret() {
    let name = "r127_logging_in_takes_the_right_role_and_the_right_secret";
    let Some(bao) = start(name, Storage::Memory).await else { return };
    let refused = async |vault: eparch_vault::Hashicorp| {
        let error = vault.issue_run(grant()).await.unwrap_err();
        assert!(matches!(error, VaultError::LoginRefused) && !error.is_retryable(), "{error:?}");
    };
    refused(bao.hashicorp_with(|settings| settings.secret_id = Some("wrong".into()))).await;
    refused(bao.hashicorp_with(|settings| settings.role_id = Some("wrong".into()))).await;
    assert!(bao.hashicorp().issue_run(grant()).await.is_ok());
    // An AppRole that was taken away.
    let vault = bao.hashicorp();
    bao.cli(&["delete", "auth/approle/role/eparch"]);
    refused(vault).await;
}

#[tokio::test]
async fn r127_a_secret_id_that_is_good_once_is_enough_for_as_long_as_the_token_lives() {
    let name = "r127_a_secret_id_that_is_good_once_is_enough_for_as_long_as_the_token_lives";
    let Some(bao) = start(name, Storage::Memory).await else { return };
    let path = "auth/approle/role/eparch/secret-id";
    let once = bao.cli(&["write", "-field=secret_id", path, "num_uses=1"]);
    let vault = || bao.hashicorp_with(|settings| settings.secret_id = Some(once.as_str().into()));
    let first = vault();
    let issued = first.issue_run(grant()).await.unwrap();
    // What is not allowed does not make it ask for another token, which it could not get.
    let lesser = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(lesser.path(), "path \"auth/token/renew-self\" {\n  capabilities = [\"update\"]\n}\n")
        .unwrap();
    bao.cli(&["policy", "write", "eparch-daemon", lesser.path().to_str().unwrap()]);
    let denied = first.issue_run(grant()).await;
    assert!(matches!(denied, Err(VaultError::Denied { .. })), "{denied:?}");
    let restored = bao.hashicorp();
    restored.set_up(&bao.root).await.unwrap();
    assert!(first.lookup(&issued.status.accessor).await.is_ok());
    // Nobody else gets in with it.
    let second = vault().issue_run(grant()).await;
    assert!(matches!(second, Err(VaultError::LoginRefused)), "{second:?}");
}

#[tokio::test]
async fn r127_eparchs_own_token_is_renewed_and_had_anew() {
    let Some(bao) = start("r127_eparchs_own_token_is_renewed_and_had_anew", Storage::Memory).await else {
        return;
    };
    bao.cli(&["write", "auth/approle/role/eparch", "token_ttl=3s", "token_max_ttl=5s"]);
    let vault = Arc::new(bao.hashicorp());
    let home = Home::new(vault.clone(), None, ());
    let accessors = || bao.cli(&["list", "-format=json", "auth/token/accessors"]).lines().count();
    // While it is used it is renewed, and no second one is asked for.
    let path = home.secret("inventory").await;
    let before = accessors();
    let short = home.issue(run(), Tier::T0, Span::from_secs(2)).await;
    home.expire(&short, Span::from_secs(2)).await;
    assert!(vault.read(Reader::Daemon, &path, None).await.is_ok());
    assert!(accessors() <= before, "the login of before is used still");
    // Past the longest life the server gives it, it logs in again: unused meanwhile, as a daemon at night.
    let long = home.issue(run(), Tier::T0, Span::from_secs(5)).await;
    let gone = async || {
        let looked =
            bao.command(&["token", "lookup", "-accessor", long.status.accessor.as_str()]).output().unwrap();
        !looked.status.success()
    };
    home.pass(Span::from_secs(5), "the token is over", gone).await;
    assert!(vault.read(Reader::Daemon, &path, None).await.is_ok());
    // Taken away by somebody, it is had anew at once.
    let all = bao.cli(&["list", "-format=json", "auth/token/accessors"]);
    for accessor in serde_json::from_str::<Vec<String>>(&all).unwrap() {
        let told = bao.cli(&["token", "lookup", "-format=json", "-accessor", &accessor]);
        if told.contains("eparch-daemon") {
            bao.cli(&["token", "revoke", "-accessor", &accessor]);
        }
    }
    assert!(vault.read(Reader::Daemon, &path, None).await.is_ok());
}

#[tokio::test]
async fn g9_tokens_of_others_are_neither_found_nor_touched() {
    let Some(bao) = start("g9_tokens_of_others_are_neither_found_nor_touched", Storage::Memory).await else {
        return;
    };
    let (mine, other) = (bao.hashicorp(), bao.hashicorp_of("elsewhere", |_| {}));
    let theirs = other.issue_run(grant()).await.unwrap();
    let somebodys = bao.cli(&["token", "create", "-policy=t0-observer", "-format=json"]);
    let somebodys: serde_json::Value = serde_json::from_str(&somebodys).unwrap();
    let somebodys = Accessor::new(somebodys["auth"]["accessor"].as_str().unwrap()).unwrap();

    for accessor in [&theirs.status.accessor, &somebodys] {
        let looked = mine.lookup(accessor).await;
        assert!(matches!(looked, Err(VaultError::Ended { .. })), "{looked:?}");
        let renewed = mine.renew(accessor, HOUR).await;
        assert!(matches!(renewed, Err(VaultError::Ended { .. })), "{renewed:?}");
        let revoked = mine.revoke(accessor).await;
        assert!(matches!(revoked, Err(VaultError::Denied { .. })), "{revoked:?}");
        bao.cli(&["token", "lookup", "-accessor", accessor.as_str()]);
    }
    assert_eq!(mine.find(None).await.unwrap(), []);
    assert_eq!(mine.find(Some(theirs.status.run)).await.unwrap(), []);
    assert_eq!(other.find(None).await.unwrap().len(), 1);
    let child = eparch_vault::ChildGrant { agent: agent(), tier: Tier::T0, ttl: MINUTE };
    for token in [&theirs.token, &bao.root] {
        let issued = mine.issue_child(token, child).await;
        assert!(matches!(issued, Err(VaultError::Ended { .. })), "{issued:?}");
    }
}

#[tokio::test]
async fn g2_the_server_itself_ends_children_with_their_parent_and_bounds_them() {
    let name = "g2_the_server_itself_ends_children_with_their_parent_and_bounds_them";
    let Some(bao) = start(name, Storage::Memory).await else { return };
    let vault = bao.hashicorp();
    let run = vault.issue_run(grant()).await.unwrap();
    let grant = eparch_vault::ChildGrant { agent: agent(), tier: Tier::T1, ttl: MINUTE };
    let child = vault.issue_child(&run.token, grant).await.unwrap();
    let looked = |token: &Token| {
        let output = bao.command(&["token", "lookup", "-format=json", token.expose()]).output().unwrap();
        output.status.success().then(|| serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap())
    };
    let data = looked(&child.token).unwrap()["data"].clone();
    assert_eq!(data["policies"], serde_json::json!([tier_policy(Tier::T1)]));
    assert_eq!((&data["orphan"], &data["explicit_max_ttl"]), (&false.into(), &7_200.into()));
    assert_eq!(looked(&run.token).unwrap()["data"]["orphan"], serde_json::json!(true));

    // With the run's token in hand, the server itself gives no more than the roles allow.
    let mut wider = bao.command(&["token", "create", "-role=eparch-t1", "-policy=t4-architect"]);
    assert!(!wider.env("BAO_TOKEN", run.token.expose()).output().unwrap().status.success());
    let mut root = bao.command(&["token", "create", "-policy=root"]);
    assert!(!root.env("BAO_TOKEN", run.token.expose()).output().unwrap().status.success());

    vault.revoke(&run.status.accessor).await.unwrap();
    assert!(looked(&run.token).is_none() && looked(&child.token).is_none());
}

/// A small generator of numbers, so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }
}

#[tokio::test]
async fn r128_the_embedded_home_judges_policies_as_the_server_does() {
    let Some(bao) = start("r128_the_embedded_home_judges_policies_as_the_server_does", Storage::Memory).await
    else {
        return;
    };
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let parts = ["a", "b", "ab", "+"];
    let names = ["create", "read", "update", "delete", "list", "deny"];
    let paths: Vec<String> = (0..60)
        .map(|_| {
            (0..=dice.roll(4))
                .map(|_| ["a", "b", "ab", "abc", "c"][dice.roll(5)])
                .collect::<Vec<_>>()
                .join("/")
        })
        .collect();
    let mut compared = 0;
    for round in 0..12 {
        let mut text = String::new();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..14 {
            let mut path = (0..=dice.roll(4)).map(|_| parts[dice.roll(4)]).collect::<Vec<_>>().join("/");
            path.push_str(["", "*", "/*"][dice.roll(3)]);
            // `+*` is no pattern: a plus stands for a whole part.
            if path.contains("+*") || !seen.insert(path.clone()) {
                continue;
            }
            let mut allowed: Vec<String> = Vec::new();
            for name in names {
                // Denials would hide everything else, were they as many.
                if dice.roll(if name == "deny" { 8 } else { 3 }) == 0 {
                    allowed.push(format!("\"{name}\""));
                }
            }
            text.push_str(&format!("path \"{path}\" {{\n  capabilities = [{}]\n}}\n", allowed.join(", ")));
        }
        let policy = Policy::parse(&text).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &text).unwrap();
        let name = format!("generated-{round}");
        bao.cli(&["policy", "write", &name, file.path().to_str().unwrap()]);
        let token =
            bao.cli(&["token", "create", &format!("-policy={name}"), "-no-default-policy", "-field=token"]);
        let mut words = vec!["write".to_owned(), "-format=json".to_owned(), "sys/capabilities".to_owned()];
        words.push(format!("token={token}"));
        words.extend(paths.iter().map(|path| format!("paths={path}")));
        let told = bao.cli(&words.iter().map(String::as_str).collect::<Vec<_>>());
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        for path in &paths {
            let mut server: Vec<&str> =
                told["data"][path].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
            server.retain(|name| *name != "deny");
            server.sort_unstable();
            let mut ours: Vec<&str> =
                policy.capabilities(path).into_iter().map(eparch_vault::Capability::name).collect();
            ours.sort_unstable();
            assert_eq!(ours, server, "{path} under\n{text}");
            compared += 1;
        }
    }
    assert_eq!(compared, 12 * paths.len());
}

#[tokio::test]
async fn r128_making_a_server_ready_twice_changes_nothing_and_needs_somebody_who_may() {
    let name = "r128_making_a_server_ready_twice_changes_nothing_and_needs_somebody_who_may";
    let Some(bao) = start(name, Storage::Memory).await else { return };
    let vault = bao.hashicorp();
    let path: SecretPath = place("inventory");
    vault.write(&path, fields(&[("password", "x")]), None).await.unwrap();
    let run = vault.issue_run(grant()).await.unwrap();
    vault.set_up(&bao.root).await.unwrap();
    assert!(vault.read(Reader::Daemon, &path, None).await.is_ok());
    assert!(vault.lookup(&run.status.accessor).await.is_ok());
    for (name, text) in eparch_vault::SHIPPED {
        assert_eq!(bao.cli(&["policy", "read", name]).trim(), text.trim(), "{name}");
    }
    let denied = vault.set_up(&run.token).await;
    assert!(matches!(denied, Err(VaultError::Denied { .. })), "{denied:?}");
}
