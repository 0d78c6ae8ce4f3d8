//! F18: a canary in the place of a secret in every field that somebody or something fills in, whatever the field is for.
//!
//! What is a *secret* here: values put into the vault and given to agents; tokens and keys, also those of others, known by their
//! shape; the vault's credentials in the settings and in the environment; the password before the `@` of an address. They are
//! looked for as they are, in hexadecimal, in base64 and backwards.
//!
//! What is *not* secret by design, and so has no canary that must vanish: names, paths of secrets, objectives, reasons and
//! rationales without anything of a secret's shape (they are the record); `role_id`; what an agent makes of a secret with a
//! program of its own (its base64, its hash): only what was given is known, and lines of eight characters or more of it; the
//! excerpt of a person's own file that `pipeline validate` shows them; `HOME/keys`, where the home's own keys lie, 0600; the
//! sealed file of the vault; and files that an agent leaves as artifacts, which are its work and are kept as they are.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use rustix::process::Signal;

use crate::canaries::{CANARY, found_below, guises};
use crate::canaries_routes;
use crate::console::{Place, Said, one_stage};
use crate::leases::stage;
use crate::secrets::{hand, home_of_ada};

/// How known secrets begin, and whether they go on in capitals. Put together with canaries, so that the tree holds none.
const SHAPES: [(&str, bool); 12] = [
    ("AKIA", true),
    ("sk_live_", false),
    ("sk-ant-", false),
    ("sk-proj-", false),
    ("xoxb-", false),
    ("ghp_", false),
    ("github_pat_", false),
    ("glpat-", false),
    ("npm_", false),
    ("hvs.", false),
    ("ept_", false),
    ("epk_", false),
];

/// Makes canaries, and keeps what was said where they were put.
struct Aviary {
    place: Place,
    made: usize,
    said: String,
}

impl Aviary {
    /// One that looks like somebody's token.
    fn token(&mut self) -> String {
        let (prefix, capitals) = SHAPES[self.made % SHAPES.len()];
        self.made += 1;
        let body = format!("{CANARY}A1B2C3D4E5F6{:06}", self.made);
        format!("{prefix}{}", if capitals { body.to_uppercase() } else { body })
    }

    /// One that looks like nothing.
    fn plain(&mut self) -> String {
        self.made += 1;
        format!("{CANARY}-{:06}", self.made)
    }

    fn keep(&mut self, said: &Said) {
        self.said.push_str(&format!("{said:?}\n"));
    }

    /// A command with a canary in each of its `{}`; it must be refused, and say why without it.
    fn refused(&mut self, words: &[&str], code: &str) {
        let token = self.token();
        let words: Vec<String> = words.iter().map(|word| word.replace("{}", &token)).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let said = self.place.say(&words);
        assert!(said.code != 0 && said.err.contains(code), "{}: {said:?}", words[0]);
        self.keep(&said);
    }

    /// A request to the holder, with a canary in each of its `{}`; what it answers is kept.
    fn call(&mut self, request: &str, body: &str) -> String {
        let token = self.token();
        let key = fs::read_to_string(self.place.home().join("keys/operators/ada.key")).unwrap();
        let (request, body) = (request.replace("{}", &token), body.replace("{}", &token));
        let authorization = if request.contains("authorization:") {
            String::new()
        } else {
            format!("authorization: Bearer {}\r\n", key.trim())
        };
        let length = body.len();
        let door = self.place.home().join("control.sock");
        // A holder leaves when nobody needs it; whoever asks for something starts one.
        let mut socket = UnixStream::connect(&door).unwrap_or_else(|_| {
            self.place.ok(&["runs", "list"]);
            UnixStream::connect(&door).unwrap()
        });
        let (first, headers) = request.split_once('\n').unwrap_or((&request, ""));
        let headers: String = headers.lines().map(|header| format!("{header}\r\n")).collect();
        // In one piece: who is refused by the path alone has a body that nobody reads, and what came later would cut the answer.
        let request = format!(
            "{first} HTTP/1.1\r\nhost: eparch\r\n{authorization}content-type: application/json\r\ncontent-length: {length}\r\n\
             connection: close\r\n{headers}\r\n{body}"
        );
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        self.said.push_str(&answer);
        answer
    }
}

/// Where texts stand in a pipeline.
const PIPELINES: [&str; 9] = [
    "name: p\ndescription: {}\nstages:\n  - name: only\n    type: agent\n    config: {command: [true]}\n",
    "name: p\nversion: \"{}\"\nstages:\n  - name: only\n    type: agent\n    config: {command: [true]}\n",
    "name: p\ninputs: {a: {type: string, default: \"{}\"}}\nstages:\n  - name: only\n    type: agent\n    config: {command: [true]}\n",
    "name: p\ninputs: {a: {type: string, default: x, description: \"{}\"}}\nstages:\n  - name: only\n    type: agent\n    config: {command: [true]}\n",
    "name: p\nstages:\n  - name: only\n    type: agent\n    config: {command: [echo, \"{}\"]}\n",
    "name: p\nstages:\n  - name: only\n    type: agent\n    config: {command: [true], env: {A: \"{}\"}}\n",
    "name: p\nstages:\n  - name: only\n    type: agent\n    config: {command: [true], objective: \"say {}\"}\n",
    "name: p\nstages:\n  - name: only\n    type: agent\n    config: {command: [true], verify: [[echo, \"{}\"]]}\n",
    "name: p\nstages:\n  - name: only\n    type: agent\n    config: {command: [true], artifacts: [\"{}\"]}\n",
];

#[test]
fn g8_f18_a_canary_in_any_field_is_found_nowhere() {
    let mut aviary = Aviary { place: home_of_ada(), made: 0, said: String::new() };
    let file = aviary.place.file("p.yaml", &one_stage("true"));
    aviary.place.ok(&["run", &file]);

    // What people type, flag by flag; each shape gets its turn.
    let run = aviary.place.json(&["runs", "list"])[0]["pipeline_id"].as_str().unwrap().to_owned();
    let with_input = aviary.place.file(
        "i.yaml",
        "name: i\ninputs: {a: {type: string}}\nstages:\n  - name: only\n    type: agent\n    config: {command: [true]}\n",
    );
    for _ in 0..SHAPES.len() {
        aviary.refused(&["run", &with_input, "--input", "a={}"], "EP0224");
        aviary.refused(&["run", &file, "--input", "{}=1"], "");
        aviary.refused(&["run", &file, "--tier", "{}"], "");
        aviary.refused(&["runs", "stop", &run, "--reason", "because {}"], "EP0224");
        aviary.refused(&["token", "revoke", &run, "--reason", "because {}"], "EP0224");
        aviary.refused(&["runs", "show", "{}"], "");
        aviary.refused(&["--as", "{}", "runs", "list"], "");
        aviary.refused(&["operator", "add", "{}", "--role", "viewer"], "");
        aviary.refused(&["operator", "add", "eve", "--role", "viewer", "--group", "{}"], "");
        aviary.refused(&["operator", "remove", "{}"], "");
        aviary.refused(&["stop-all", "--reason", "because {}"], "EP0224");
        aviary.refused(&["stop-all", "--lift", "--reason", "because {}"], "EP0224");
        let ask =
            ["break-glass", "request", "--run", &run, "--allow", "read_file a", "--reason", "because {}"];
        aviary.refused(&ask, "EP0224");
        let ask = ["break-glass", "request", "--run", &run, "--allow", "read_file {}", "--reason", "r"];
        aviary.refused(&ask, "EP0224");
        let nobodys = "brk_00000000000000000000000001";
        aviary.refused(&["break-glass", "end", nobodys, "--reason", "because {}"], "EP0224");
        aviary.refused(&["break-glass", "show", "{}"], "");
        aviary.refused(&["lock", "release", "{}", "--reason", "r"], "");
        aviary.refused(&["lock", "release", "nobodys", "--reason", "because {}"], "EP0224");
        aviary.refused(&["policy", "explain", "--agent", "T1", "--action", "{}", "--resource", "a"], "");
        aviary.refused(&["{}"], "");
        aviary.refused(&["--format", "json", "runs", "--{}"], "");
    }
    for (at, text) in PIPELINES.iter().enumerate() {
        for _ in 0..8 {
            let token = aviary.token();
            // In a workspace of its own: the file itself is a person's.
            let file = aviary.place.file(&format!("pipeline{at}.yaml"), &text.replace("{}", &token));
            let said = aviary.place.say(&["run", &file]);
            assert!(said.code != 0 && said.err.contains("EP0224"), "{text}: {said:?}");
            aviary.keep(&said);
        }
    }

    // What programs send: bodies, paths, queries, headers.
    aviary.place.ok(&["runs", "list"]);
    for round in 0..SHAPES.len() {
        for canaries_routes::Sent { line, body, refused } in canaries_routes::all() {
            let answer = aviary.call(&line, &body);
            assert!(!refused || answer.starts_with("HTTP/1.1 4"), "{round} {line} {body}: {answer}");
        }
        for request in [
            "GET /api/runs?limit={}",
            "GET /{}",
            "GET /api/runs\nauthorization: Bearer {}",
            "GET /api/runs\nauthorization: Basic {}",
            "GET /api/runs\nx-api-key: {}",
            "GET /readyz\ncookie: session={}",
            "{} /api/runs",
        ] {
            aviary.call(request, "");
        }
    }

    // What the settings and the environment hold for the vault.
    let settings = aviary.place.home().join("eparch.toml");
    for text in [
        "secret_id = \"{}\"",
        "secret_id = {}",
        "secret_id = \"{}",
        "secret_id = [\"{}\"]",
        "secret-id = \"{}\"",
        "secret_id = \"{}\"\nsecret_id = \"{}\"",
        "address = \"https://eparch:{}@127.0.0.1:1\"",
        "address = \"https://127.0.0.1:1/{}\"",
        "address = \"https://127.0.0.1:1?token={}\"",
        "address = \"https://127.0.0.1:1\"\nca_cert = \"/ca.pem\"\nrole_id = \"r\"\nsecret_id = \"{}\"",
    ] {
        let canary = aviary.plain();
        fs::write(&settings, format!("[vault]\n{}\n", text.replace("{}", &canary))).unwrap();
        for words in [&["config", "check"][..], &["config", "show"], &["doctor"], &["secrets", "status"]] {
            for format in ["text", "json"] {
                let said = aviary.place.say(&[&["--format", format], words].concat());
                aviary.keep(&said);
            }
        }
        fs::remove_file(&settings).unwrap();
        aviary.place.end_holder(Signal::TERM);
    }
    for name in ["VAULT_SECRET_ID", "EPARCH_VAULT_KEY", "VAULT_ADDR"] {
        let canary = aviary.plain();
        let value = if name == "VAULT_ADDR" { format!("https://u:{canary}@127.0.0.1:1") } else { canary };
        for words in [&["config", "show"][..], &["doctor"], &["secrets", "list"], &["run", &file]] {
            let said = aviary.place.say_with(&[(name, &value)], words);
            aviary.keep(&said);
        }
        aviary.place.end_holder(Signal::TERM);
    }

    // What an agent says that was given a secret, and tokens of others: each way it has to say something.
    for (at, shape) in ["plain", "token"].into_iter().cycle().take(6).enumerate() {
        let canary = if shape == "plain" { aviary.plain() } else { aviary.token() };
        let put = hand(&aviary.place, &["secrets", "put", "inventory/hosts", "-f", "password"], &canary);
        assert_eq!(put.code, 0, "{put:?}");
        let other = aviary.token();
        // What is not given to it comes to it over its own folder, as a file of the project would.
        let script = format!(
            "got=$(eparch secret get inventory/hosts --field password) || exit 9\n\
             for it in \"$got\" \"$(cat other{at})\"; do\n\
             echo \"it is $it\"; echo \"it is $it\" >&2; printf 'no end %s' \"$it\"\n\
             echo; echo \"leaked=$it\" >> \"$EPARCH_OUTPUT\"; echo \"$it=leaked\" >> \"$EPARCH_OUTPUT\"\n\
             printf '{{\"json\": {{\"deep\": [\"%s\"]}}}}\\n' \"$it\" >> \"$EPARCH_OUTPUT\"\n\
             eparch output said=\"$it\"; eparch output \"$it=1\"; eparch message \"$it\"; eparch message --to \"$it\" hello\n\
             eparch act read_file --target \"$it\" --key a; eparch act read_file --target docs --key \"$it\"\n\
             eparch act read_file --target docs --key b --params \"{{\\\"a\\\": \\\"$it\\\"}}\"\n\
             eparch act --done prm_00000000000000000000000001 --detail \"$it\"\n\
             eparch act execute_command --target localhost --key c -- echo \"$it\"\n\
             eparch secret get \"$it\"\n\
             done\nexit 0"
        );
        let text =
            stage("inventory/hosts", &script).replace("tier: 2\n", "tier: 2\n      paths: {read: [\".\"]}\n");
        aviary.place.file(&format!("other{at}"), &other);
        let file = aviary.place.file("agent.yaml", &text);
        // An output whose name is a secret is lost, and so the stage fails.
        let said = aviary.place.say(&["run", &file]);
        aviary.keep(&said);
        let logs = aviary.place.say(&["runs", "logs", "--last"]);
        assert!(logs.out.contains("it is [redacted]"), "{logs:?}");
        aviary.keep(&logs);
    }

    for words in [
        &["ledger", "show"][..],
        &["ledger", "export"],
        &["ledger", "query"],
        &["runs", "list"],
        &["runs", "show", "--last"],
        &["agent", "list"],
        &["operator", "list"],
        &["secrets", "list"],
    ] {
        for format in ["text", "json"] {
            let said = aviary.place.say(&[&["--format", format], words].concat());
            aviary.keep(&said);
        }
    }
    let capital = CANARY.to_uppercase();
    let guises: Vec<Vec<u8>> = [CANARY, &capital].iter().flat_map(|text| guises(text)).collect();
    let mut hits: Vec<String> = Vec::new();
    let mut looked = found_below(&aviary.place.home(), &guises, &mut hits);
    aviary.place.end_holder(Signal::TERM);
    looked += found_below(&aviary.place.home(), &guises, &mut hits);
    for guise in &guises {
        for (at, _) in aviary.said.match_indices(str::from_utf8(guise).unwrap()) {
            let around = at.saturating_sub(160)..(at + 60).min(aviary.said.len());
            hits.push(String::from_utf8_lossy(&aviary.said.as_bytes()[around]).into_owned());
        }
    }
    println!(
        "{} canaries, {} hits in {looked} files and {} bytes of answers",
        aviary.made,
        hits.len(),
        aviary.said.len()
    );
    assert!(aviary.made >= 500, "{} canaries", aviary.made);
    assert!(looked > 20, "{looked} files");
    assert!(hits.is_empty(), "{} hits:\n{}", hits.len(), hits[..hits.len().min(12)].join("\n---\n"));
}
