//! Where canaries go in what programs send to the holder: into every route that there is, as the sources of the API have them.
//! A route that is added there and has nothing here turns F18 red.

use std::collections::BTreeSet;
use std::fs;

/// What stands for each `{…}` of a path that is no canary.
const RUN: &str = "run_00000000000000000000000001";

/// Bodies for each route that takes one, with a canary in each of its texts, in places of another type, and as a key. Each text is
/// alone with its canary somewhere, where everything else is as it should be: what is refused for one field hides the next.
const BODIES: &[(&str, &[&str])] = &[
    (
        "POST /api/runs",
        &[
            r#"{"file": "{}", "pipeline": "name: {}", "inputs": {"{}": "{}"}, "root": "/{}"}"#,
            r#"{"file": "p", "pipeline": "name: p", "root": "/", "env": {"{}": "{}"}}"#,
            r#"{"file": "p", "pipeline": "name: p", "root": "/", "idempotency_key": "{}"}"#,
            r#"{"tier": "{}", "timeout": "{}"}"#,
        ],
    ),
    ("POST /api/runs/{id}/stop", &[r#"{"reason": "{}"}"#, r#"{"reason": ["{}"], "{}": 1}"#]),
    (
        "POST /api/runs/{id}/retry",
        &[r#"{"from": "{}", "idempotency_key": "{}"}"#, r#"{"from": "only", "idempotency_key": "{}"}"#],
    ),
    (
        "POST /api/operators",
        &[
            r#"{"name": "{}", "role": "viewer"}"#,
            r#"{"name": "eve", "role": "{}"}"#,
            r#"{"name": "eve", "role": "viewer", "groups": ["{}"]}"#,
            r#"{"name": "eve", "role": "viewer", "public_key": "{}"}"#,
            r#"{"name": "eve", "role": "viewer", "max_tier": "{}"}"#,
            r#"{"name": "eve", "role": "viewer", "{}": true}"#,
        ],
    ),
    ("DELETE /api/operators/{name}", &[""]),
    ("POST /api/operators/{name}/rotate", &[""]),
    ("POST /api/ledger/checkpoint", &[r#"{"{}": "{}"}"#]),
    ("POST /api/ledger/rebuild-views", &[r#"{"{}": "{}"}"#]),
    ("POST /api/approvals/{gate}", ANSWERS),
    (
        "PUT /api/secrets/{*path}",
        &[r#"{"fields": {"a": ["{}"]}, "{}": 1}"#, r#"{"fields": {"a": "b"}, "cas": "{}"}"#],
    ),
    ("POST /api/policies", &[r#"{"{}": "{}"}"#]),
    ("POST /api/policies/answer", ANSWERS),
    ("POST /api/stop-all", REASONS),
    ("POST /api/stop-all/lift", REASONS),
    (
        "POST /api/break-glass",
        &[
            r#"{"scope": {"whom": "run", "run": "RUN"}, "allows": [{"action": "read_file", "target": "a"}], "time": "5m", "reason": "{}"}"#,
            r#"{"scope": {"whom": "run", "run": "RUN"}, "allows": [{"action": "read_file", "target": "{}"}], "time": "5m", "reason": "r"}"#,
            r#"{"scope": {"whom": "run", "run": "RUN"}, "allows": [{"action": "{}", "target": "a"}], "time": "5m", "reason": "r"}"#,
            r#"{"scope": {"whom": "run", "run": "RUN"}, "allows": [], "time": "{}", "reason": "r"}"#,
            r#"{"scope": {"whom": "run", "run": "{}"}, "allows": [], "time": "5m", "reason": "r"}"#,
            r#"{"scope": {"whom": "stage", "run": "RUN", "stage": "{}"}, "allows": [{"action": "read_file", "target": "a"}], "time": "5m", "reason": "r"}"#,
            r#"{"scope": {"whom": "agent", "agent": "{}"}, "allows": [], "time": "5m", "reason": "r"}"#,
            r#"{"scope": {"whom": "next_run", "of": "{}"}, "allows": [{"action": "read_file", "target": "a"}], "time": "5m", "reason": "r"}"#,
            r#"{"scope": {"whom": "{}"}, "allows": [], "time": "5m", "reason": "r", "{}": 1}"#,
        ],
    ),
    ("POST /api/break-glass/{id}/answer", ANSWERS),
    ("POST /api/break-glass/{id}/end", REASONS),
    ("POST /api/locks/{name}/release", REASONS),
    ("POST /api/agents/{id}/promote", &[r#"{"rationale": "{}"}"#, r#"{"to": "{}", "rationale": "r"}"#]),
    ("POST /api/agents/{id}/promotion", ANSWERS),
    ("POST /api/agents/{id}/demote", REASONS),
    ("POST /api/agents/{id}/revoke", REASONS),
    (
        "POST /api/pipeline/revoke",
        &[r#"{"pipeline_id": "RUN", "reason": "{}"}"#, r#"{"pipeline_id": "{}", "reason": "r"}"#],
    ),
    ("POST /api/clock/trust", &[r#"{"{}": "{}"}"#]),
];

const REASONS: &[&str] = &[r#"{"reason": "{}"}"#, r#"{"reason": ["{}"], "{}": 1}"#];

const ANSWERS: &[&str] = &[
    r#"{"decision": "approve", "rationale": "{}", "subject": "DIGEST"}"#,
    r#"{"decision": "deny", "rationale": "r", "subject": "{}"}"#,
    r#"{"decision": "{}", "rationale": "r", "subject": "DIGEST"}"#,
    r#"{"decision": "approve", "rationale": "r", "subject": "DIGEST", "signed": {"by": "{}", "signature": "00"}}"#,
    r#"{"decision": "approve", "rationale": "r", "subject": "DIGEST", "signed": {"by": "ada", "signature": "{}"}}"#,
    r#"{"decision": "approve", "rationale": "r", "subject": "DIGEST", "{}": 1}"#,
];

/// One request: its first line and its body, with `{}` where canaries go.
pub(crate) struct Sent {
    pub(crate) line: String,
    pub(crate) body: String,
    /// Whether it must be refused: there is a canary in it where something is asked for.
    pub(crate) refused: bool,
}

/// Every request with canaries in it that the routes of the API make possible.
pub(crate) fn all() -> Vec<Sent> {
    let mut sent = Vec::new();
    for route in routes() {
        let (method, path) = route.split_once(' ').unwrap();
        // In the query of each, where nothing is asked for, and in each of a path's own parts.
        let plain = filled(path, &route);
        if path == "/api/events" {
            // With anything else it is followed until its end.
            sent.push(Sent { line: format!("GET {path}?since={{}}"), body: String::new(), refused: true });
        } else if method == "GET" {
            let query = "{}={}&before={}&prefix={}&pipeline_id={}&version={}&q={}";
            sent.push(Sent { line: format!("GET {plain}?{query}"), body: String::new(), refused: false });
        }
        let guessed = with_canaries(path);
        if guessed != path {
            sent.push(Sent { line: format!("{method} {guessed}"), body: first_body(&route), refused: true });
        }
        for body in bodies(&route) {
            let refused = body.contains("{}") && !takes_nothing(&route);
            sent.push(Sent { line: format!("{method} {plain}"), body: (*body).to_owned(), refused });
        }
    }
    for each in &mut sent {
        let digest = format!("sha256:{}", "0".repeat(64));
        each.body = each.body.replace("RUN", RUN).replace("DIGEST", &digest);
        // What is left of a path's names is nobody's.
        each.line = each.line.replace("{*path}", "a/b");
    }
    sent
}

/// Routes that take no body: whatever comes is not read.
fn takes_nothing(route: &str) -> bool {
    route.ends_with("/api/policies")
        || ["/ledger/", "/clock/trust", "/rotate", "DELETE "].iter().any(|part| route.contains(part))
}

fn bodies(route: &str) -> &'static [&'static str] {
    BODIES.iter().find(|(of, _)| *of == route).map_or(&[], |(_, bodies)| bodies)
}

/// A body in which nothing is wrong, for a route whose path is.
fn first_body(route: &str) -> String {
    match bodies(route) {
        REASONS => r#"{"reason": "r"}"#.to_owned(),
        [] => String::new(),
        more => more[0].replace("{}", "r"),
    }
}

/// A path with names of things that are not there.
fn filled(path: &str, route: &str) -> String {
    let name = match route {
        _ if path.contains("/runs/") => RUN,
        _ if path.contains("/break-glass/") => "brk_00000000000000000000000001",
        _ if path.contains("/approvals/") => "gat_00000000000000000000000001",
        _ if path.contains("/agents/") => "agt_00000000000000000000000001",
        _ => "nobody",
    };
    ["{id}", "{gate}", "{name}"].iter().fold(path.to_owned(), |path, part| path.replace(part, name))
}

fn with_canaries(path: &str) -> String {
    ["{id}", "{gate}", "{name}", "{*path}"]
        .iter()
        .fold(path.to_owned(), |path, part| path.replace(part, "{}"))
}

/// Every route of the API with its method, as `POST /api/runs`, from its sources.
fn routes() -> BTreeSet<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../daemon/src/api");
    let mut found = BTreeSet::new();
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|end| end == "rs") {
            routes_of(&fs::read_to_string(path).unwrap(), &mut found);
        }
    }
    found
}

/// `.route("PATH", get(…).post(…))`, as rustfmt leaves it.
fn routes_of(source: &str, found: &mut BTreeSet<String>) {
    for route in source.split(".route(").skip(1) {
        let mut parts = route.trim_start().splitn(3, '"');
        let (_, path, rest) = (parts.next(), parts.next().unwrap(), parts.next().unwrap());
        let rest = rest.split(['\n', ';']).next().unwrap();
        for method in ["get", "post", "put", "delete", "patch"] {
            if rest.contains(&format!("{method}(")) {
                found.insert(format!("{} {path}", method.to_uppercase()));
            }
        }
    }
}

#[test]
fn f18_every_route_that_takes_something_has_its_canaries() {
    let routes = routes();
    assert!(routes.len() > 40 && routes.contains("DELETE /api/operators/{name}"), "{routes:?}");
    let with: BTreeSet<String> = BODIES.iter().map(|(route, _)| (*route).to_owned()).collect();
    let takes = |route: &&String| !route.starts_with("GET ");
    let without: Vec<_> = routes.iter().filter(takes).filter(|route| !with.contains(*route)).collect();
    assert!(without.is_empty(), "these are given no canary: {without:?}");
    let gone: Vec<_> = with.iter().filter(|route| !routes.contains(*route)).collect();
    assert!(gone.is_empty(), "there is no such route any more: {gone:?}");
}
