//! `eparch serve`: the API over TCP, and what it says of itself.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::bao::{Bao, Storage, program};
use crate::console::{Place, wait_until};
use crate::leases_server::home_with;

/// A home that is served.
struct Served {
    child: Child,
    /// `HOST:PORT`.
    at: String,
}

impl Served {
    fn of(place: &Place) -> Served {
        let mut child = place
            .command(&["serve", "--listen", "127.0.0.1:0", "--format", "json"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let mut lines = BufReader::new(child.stdout.as_mut().unwrap());
        while !said.ends_with("}\n") {
            assert_ne!(lines.read_line(&mut said).unwrap(), 0, "it ended: {said}");
        }
        let said: Value = serde_json::from_str(&said).unwrap();
        let at = said["url"].as_str().unwrap().strip_prefix("http://").unwrap().to_owned();
        Served { child, at }
    }

    /// Status and body of an answer.
    fn ask(&self, head: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(&self.at).unwrap();
        let request = format!("{head}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    fn ready(&self) -> (u16, Value) {
        self.ask(&format!("GET /readyz HTTP/1.1\r\nhost: {}", self.at))
    }

    /// The same for who shows this as their authorization.
    fn ready_for(&self, authorization: &str) -> (u16, Value) {
        let header = match authorization {
            "" => String::new(),
            some => format!("\r\nauthorization: {some}"),
        };
        self.ask(&format!("GET /readyz HTTP/1.1\r\nhost: {}{header}", self.at))
    }

    fn component(&self, name: &str) -> Option<Value> {
        let (_, ready) = self.ready();
        let components = ready["components"].as_array().unwrap().clone();
        components.into_iter().find(|component| component["name"] == name)
    }

    /// Tells it to end; its exit code.
    fn end(mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn key(place: &Place, name: &str) -> String {
    std::fs::read_to_string(place.home().join(format!("keys/operators/{name}.key")))
        .unwrap()
        .trim()
        .to_owned()
}

#[test]
fn the_api_is_served_over_tcp_to_whoever_has_a_key_and_means_this_machine() {
    let place = Place::new();
    place.ok(&["init", "--owner", "ada"]);
    let served = Served::of(&place);
    let bearer = format!("authorization: Bearer {}", key(&place, "ada"));
    let (at, code) = (&served.at, |answer: &Value| answer["code"].as_str().unwrap_or_default().to_owned());
    let (status, runs) = served.ask(&format!("GET /api/runs HTTP/1.1\r\nhost: {at}\r\n{bearer}"));
    assert_eq!(status, 200, "{runs}");
    let (status, none) = served.ask(&format!("GET /api/runs HTTP/1.1\r\nhost: {at}"));
    assert_eq!((status, code(&none).as_str()), (401, "EP0520"));
    // What a page of another site can make a browser here send.
    let (status, elsewhere) =
        served.ask(&format!("GET /api/runs HTTP/1.1\r\nhost: evil.example\r\n{bearer}"));
    assert_eq!((status, code(&elsewhere).as_str()), (403, "EP0525"));
    let origin = "origin: http://evil.example";
    let (status, other) = served
        .ask(&format!("POST /api/runs HTTP/1.1\r\nhost: {at}\r\n{origin}\r\n{bearer}\r\ncontent-length: 0"));
    assert_eq!((status, code(&other).as_str()), (403, "EP0525"));
    // Whoever is at a terminal need not know that it is served.
    assert_eq!(place.holder().map(|pid| pid.as_raw_nonzero().get()), i32::try_from(served.child.id()).ok());
    place.ok(&["runs", "list"]);
    assert_eq!(served.end(), Some(0));
}

#[test]
fn a_home_is_served_once_and_only_to_this_machine() {
    let place = Place::new();
    place.ok(&["init", "--owner", "ada"]);
    let open = place.say(&["serve", "--listen", "0.0.0.0:0"]);
    assert!(open.code == 78 && open.err.contains("EP0724") && place.holder().is_none(), "{open:?}");
    let served = Served::of(&place);
    let twice = place.say(&["serve", "--listen", "127.0.0.1:0"]);
    assert!(twice.code == 69 && twice.err.contains("EP0725") && twice.err.contains(&served.at), "{twice:?}");
    let taken = place.say(&["serve", "--listen", &served.at]);
    assert!(taken.code == 69 && taken.err.contains("EP0723"), "{taken:?}");
}

/// A holder that works through a run is waited for.
#[test]
fn serving_begins_when_another_holder_has_left() {
    let place = Place::new();
    place.ok(&["init", "--owner", "ada"]);
    place.ok(&["runs", "list"]);
    let before = place.holder().unwrap();
    let served = Served::of(&place);
    assert_ne!(place.holder(), Some(before));
    assert_eq!(served.ready().0, 200);
}

/// What is enforced is what decides now: a policy that only watches is loaded and does not.
#[test]
fn r267_readyz_says_what_is_enforced() {
    let place = Place::new();
    place.ok(&["init", "--owner", "ada"]);
    let served = Served::of(&place);
    let bearer = format!("Bearer {}", key(&place, "ada"));
    let (status, ready) = served.ready_for(&bearer);
    assert_eq!((status, &ready["ok"]), (200, &json!(true)), "{ready}");
    let before = ready["enforced"].clone();
    let deciding = before["deciding"].as_u64().unwrap();
    assert!(before["policies"].is_string() && deciding > 20, "{before}");
    assert_eq!((&before["shadowed"], &before["watching"]), (&json!([]), &json!(0)));
    for bearer in ["", &bearer] {
        let confinement = wait_until("confinement was tried", || {
            served.ready_for(bearer).1["enforced"]["confinement"].as_array().cloned()
        });
        let disk = confinement.iter().find(|measure| measure["measure"] == "disk-limit").unwrap();
        assert!(disk["in_force"].is_boolean(), "{confinement:?}");
        assert_eq!(disk["detail"].is_string(), !bearer.is_empty(), "{disk}");
    }
    let own = place.home().join("policies");
    fs::create_dir(&own).unwrap();
    for file in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies")).unwrap() {
        let file = file.unwrap().path();
        if file.extension().is_some_and(|end| end == "cedar") {
            fs::copy(&file, own.join(file.file_name().unwrap())).unwrap();
        }
    }
    let watched =
        "@id(\"zz-watched\")\n@reason(\"watched\")\n@shadow\nforbid (principal, action, resource);\n";
    fs::write(own.join("watched.cedar"), watched).unwrap();
    assert_eq!(served.ready().1["enforced"]["policies"], before["policies"], "they are not in force yet");
    place.ok(&["policy", "load"]);
    let now = served.ready_for(&bearer).1["enforced"].clone();
    assert_eq!((&now["shadowed"], &now["deciding"]), (&json!(["zz-watched"]), &json!(deciding)));
    assert_ne!(now["policies"], before["policies"]);
    let (_, anybodys) = served.ready();
    let told = &anybodys["enforced"];
    assert_eq!((&told["watching"], &told["deciding"]), (&json!(1), &json!(deciding)));
    assert!(
        told["policies"] == now["policies"] && !anybodys.to_string().contains("zz-watched"),
        "{anybodys}"
    );
}

/// R240, R267: who stopped everything and why, and whom, what and why two people let pass, is for whoever shows an operator's
/// key; anybody else is told states and counts.
#[test]
fn r267_r240_without_a_key_readyz_says_states_and_counts_and_nothing_of_people() {
    let place = Place::new();
    place.ok(&["init", "--owner", "ada"]);
    for (name, role) in [("oscar", "operator"), ("barbara", "approver")] {
        place.ok(&["operator", "add", name, "--role", role, "--max-tier", "2"]);
    }
    let served = Served::of(&place);
    let ask = ["--as", "oscar", "break-glass", "request", "--next-run-of", "oscar", "--for", "10m"];
    let what = ["--allow", "execute_command prod-web-1", "--reason", "the web is down"];
    let grant = place.json(&[&ask[..], &what].concat())["grant"].as_str().unwrap().to_owned();
    place.ok(&["--as", "barbara", "break-glass", "approve", &grant, "--rationale", "I see it too"]);
    let bearer = format!("Bearer {}", key(&place, "oscar"));
    let strangers = ["", "Bearer ", "Bearer epk_nobodys", "Basic b3NjYXI6"];
    let home = place.home().display().to_string();
    let quiet = |said: &Value| {
        let text = said.to_string();
        for secret in
            [&*grant, "prod-web-1", "the web is down", "they run wild", "oscar", "barbara", &home, "detail"]
        {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
        let named: Vec<_> = said["components"].as_array().unwrap().iter().map(|of| &of["healthy"]).collect();
        assert!(named.len() >= 2 && named.iter().all(|healthy| **healthy == true), "{said}");
    };
    for bearer in strangers {
        let (status, said) = served.ready_for(bearer);
        assert_eq!((status, &said["ok"]), (200, &json!(true)), "{bearer}: {said}");
        assert_eq!((&said["all_stopped"], &said["break_glass_open"]), (&json!(false), &json!(1)), "{bearer}");
        quiet(&said);
    }
    let (_, said) = served.ready_for(&bearer);
    assert_eq!((&said["break_glass"][0]["grant"], &said["break_glass_open"]), (&json!(grant), &json!(1)));
    assert_eq!(said["break_glass"][0]["reason"], "the web is down");
    assert!(said["components"][0]["detail"].is_string() && said["settings"].is_string(), "{said}");

    place.ok(&["--as", "barbara", "stop-all", "--reason", "they run wild"]);
    for bearer in strangers {
        let (_, said) = served.ready_for(bearer);
        assert_eq!((&said["all_stopped"], &said["break_glass_open"]), (&json!(true), &json!(0)), "{bearer}");
        quiet(&said);
    }
    let (_, said) = served.ready_for(&bearer);
    assert_eq!(
        (&said["stopped"]["by"], &said["stopped"]["reason"]),
        (&json!("barbara"), &json!("they run wild"))
    );

    // `doctor` shows the key of whoever looks, and is of use without one.
    let looked = place.say(&["doctor"]);
    assert!(looked.code == 69 && looked.out.contains("they run wild"), "{looked:?}");
    let kept = place.home().join("keys/operators/ada.key");
    fs::rename(&kept, place.path("away")).unwrap();
    let looked = place.say(&["doctor"]);
    assert!(looked.code == 69 && !looked.out.contains("they run wild"), "{looked:?}");
    for told in ["everything is stopped", "stop-all --lift", "told to operators alone"] {
        assert!(looked.out.contains(told), "{told}: {looked:?}");
    }
    let by_oscar = place.say(&["--as", "oscar", "doctor"]);
    assert!(by_oscar.out.contains("they run wild"), "{by_oscar:?}");
    fs::rename(place.path("away"), kept).unwrap();
    assert_eq!(served.end(), Some(0));
}

/// R126, R267, R270: a dependency that is down shows, and so does that it is back; decisions go on without it.
#[tokio::test(flavor = "multi_thread")]
async fn r267_r126_a_vault_that_is_away_shows_and_so_does_that_it_is_back() {
    let Some(program) = program("serve::r267_r126_a_vault_that_is_away_shows_and_so_does_that_it_is_back")
    else {
        return;
    };
    let mut bao = Bao::start(&program, Storage::Raft).await;
    let place = home_with(&bao);
    let served = Served::of(&place);
    let until = |what: &str, wanted: &dyn Fn(&Value) -> bool| {
        wait_until(what, || served.component("vault").filter(wanted))
    };
    until("the server answers", &|vault| vault["healthy"] == true);
    bao.seal().await;
    let sealed = until("it is sealed", &|vault| vault["healthy"] == false);
    assert_eq!(sealed["detail"], Value::Null, "why is for operators: {sealed}");
    let (_, all) = served.ready_for(&format!("Bearer {}", key(&place, "ada")));
    let vault = all["components"].as_array().unwrap().iter().find(|of| of["name"] == "vault").unwrap();
    assert!(vault["detail"].as_str().unwrap().contains("sealed"), "{vault}");
    bao.unseal().await;
    until("it is well again", &|vault| vault["healthy"] == true);
    bao.kill();
    until("it is away", &|vault| vault["healthy"] == false);
    // Whoever needs a secret is told at once after some failures, and everything else goes on.
    let open = |vault: &Value| vault["breaker"] == "open" || vault["breaker"] == "half-open";
    wait_until("the breaker opens", || {
        let read = place.say(&["secrets", "get", "inventory/hosts"]);
        assert!(read.code == 69 && read.err.contains("EP0902"), "{read:?}");
        served.component("vault").filter(open)
    });
    let (status, ready) = served.ready();
    assert_eq!((status, &ready["ok"]), (200, &json!(true)), "{ready}");
    place.ok(&["runs", "list"]);
    bao.start_again().await;
    bao.unseal().await;
    until("it is back", &|vault| vault["healthy"] == true);
    wait_until("secrets are read again", || {
        let read = place.say(&["secrets", "get", "inventory/hosts"]);
        read.err.contains("EP0903").then_some(())
    });
    assert_eq!(served.component("vault").unwrap()["name"], "vault");
    assert_eq!(served.end(), Some(0));
}
