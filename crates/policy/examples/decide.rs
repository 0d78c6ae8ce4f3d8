//! How long a decision takes, the request built from typed parts included, among 10 to 10,000 policies; plain Cedar beside
//! it with the same policies and requests, its request and entities built before it is measured. What a set remembers is left
//! out of `decide`, and measured beside it. One JSON line per measurement.
//!
//! `cargo run --release -p eparch-policy --example decide [--quick]`

use std::hint::black_box;
use std::time::{Duration, Instant};

use eparch_domain::{Action, AgentId, Name, Phase, RunId, Tier};
use eparch_policy::{
    AgentSubject, Circumstances, Credential, Decision, Owner, PolicySet, PolicyText, Request, Resource,
    ResourceKind, SCHEMA, Subject,
};
use hdrhistogram::Histogram;

/// The binary's, so that what is measured is what runs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long each figure is measured, after a tenth of it for warming up.
const FOR: Duration = Duration::from_secs(1);

/// How many policies there are in turn.
const SIZES: [usize; 4] = [10, 100, 1_000, 10_000];

fn main() {
    // Once round, to see that it works: its figures say nothing.
    if std::env::args().any(|word| word == "--quick") {
        measure(&SIZES[..2], Duration::from_millis(20));
    } else {
        measure(&SIZES, FOR);
    }
}

fn measure(sizes: &[usize], lasts: Duration) {
    let defaults = PolicySet::defaults();
    for (case, request) in [("allow", write_request("web/a.txt")), ("deny", command_request("prod-eu-1"))] {
        assert_eq!(defaults.decide(&request).decision.as_str(), case);
        report("defaults", defaults.rules().len(), case, &defaults, &request, lasts);
    }
    for &many in sizes {
        let text = indexable(many);
        let start = Instant::now();
        let set = load(&text);
        println!(r#"{{"what":"load","policies":{many},"ms":{}}}"#, start.elapsed().as_millis());
        // The middle one of the teams: with a plan it may, without one it may not.
        let path = format!("team-{}/a.txt", many / 2);
        for (case, planned) in [("allow", true), ("deny", false)] {
            let mut request = write_request(&path);
            request.circumstances.planned = planned;
            assert_eq!(set.decide(&request).decision.as_str(), case);
            report("indexed", many, case, &set, &request, lasts);
            let plain = Plain::of(&text, &path, planned);
            plain.report("indexed", many, case, lasts);
        }
        // Nothing in their scopes: the index cannot leave anything out.
        let text = unindexable(many);
        let set = load(&text);
        let request = write_request("nobodys/a.txt");
        assert_eq!(set.decide(&request).decision, Decision::Deny);
        report("one bucket", many, "deny", &set, &request, lasts);
        Plain::of(&text, "nobodys/a.txt", false).report("one bucket", many, "deny", lasts);
    }
}

fn load(text: &str) -> PolicySet {
    PolicySet::load(&[PolicyText { name: "bench.cedar", text }]).expect("generated policies are sound")
}

/// Two policies for everybody, and one a team, each about its own folder.
fn indexable(many: usize) -> String {
    let policy = |number: usize| {
        format!(
            "@id(\"p-{number}\") @reason(\"team\") permit (principal in Tier::\"T{}\", action == Action::\"write_file\", \
             resource in Path::\"team-{number}\") when {{ context.phase == Phase::\"EXECUTE\" }};\n",
            number % 2
        )
    };
    let everybody = "@id(\"revoked\") @reason(\"revoked\") forbid (principal is Agent, action, resource) \
         when { context.phase == Phase::\"REVOKED\" };\n\
         @id(\"plan\") @reason(\"plan\") forbid (principal is Agent, action in Action::\"effect\", resource) \
         unless { context.planned };\n";
    (0..many - 2).map(policy).chain([everybody.to_owned()]).collect()
}

/// The same with everything said in conditions.
fn unindexable(many: usize) -> String {
    let policy = |number: usize| {
        format!(
            "@id(\"p-{number}\") @reason(\"team\") permit (principal, action, resource) when {{ principal in Tier::\"T1\" && \
             action == Action::\"write_file\" && resource in Path::\"team-{number}\" }};\n"
        )
    };
    (0..many).map(policy).collect()
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn request(action: Action, kind: ResourceKind, thing: &str) -> Request {
    let owner = Owner::Run { project: name("web"), run: RunId::from_bits(1) };
    Request {
        subject: Subject::Agent(AgentSubject {
            id: AgentId::from_bits(1),
            tier: Tier::T1,
            tenant: name("default"),
            project: name("web"),
            run: RunId::from_bits(1),
            template: Some(name("default")),
            seat: None,
            credential: Credential::Valid,
        }),
        action,
        resource: Resource::new(kind, thing, name("default"), owner).expect("a resource"),
        circumstances: Circumstances { phase: Phase::Execute, planned: true, ..Circumstances::default() },
    }
}

fn write_request(path: &str) -> Request {
    request(Action::WriteFile, ResourceKind::Path, path)
}

fn command_request(host: &str) -> Request {
    request(Action::ExecuteCommand, ResourceKind::Host, host)
}

fn report(kind: &str, policies: usize, case: &str, set: &PolicySet, request: &Request, lasts: Duration) {
    let candidates = set.decide(request).candidates;
    assert_eq!(set.decide_afresh(request), set.decide(request));
    let took = measured(lasts, || {
        black_box(set.decide_afresh(black_box(request)));
    });
    print("decide", kind, policies, case, candidates, &took);
    // The same question as before, in whichever request: what most of an agent's are.
    let took = measured(lasts, || {
        black_box(set.decide(black_box(request)));
    });
    print("asked before", kind, policies, case, candidates, &took);
}

/// Cedar as it comes: all policies, the request and its entities made before.
struct Plain {
    set: cedar_policy::PolicySet,
    entities: cedar_policy::Entities,
    request: cedar_policy::Request,
}

impl Plain {
    fn of(text: &str, path: &str, planned: bool) -> Plain {
        let set = text.parse().expect("policies");
        let schema = cedar_policy::Schema::from_cedarschema_str(SCHEMA).expect("a schema").0;
        let folder = path.split('/').next().expect("a folder");
        let entities = format!(
            r#"[{{"uid":{{"type":"Agent","id":"a"}},"parents":[{{"type":"Tier","id":"T0"}},{{"type":"Tier","id":"T1"}}],
                 "attrs":{{"name":"a","level":1,"tier":{{"__entity":{{"type":"Tier","id":"T1"}}}},
                          "tenant":{{"__entity":{{"type":"Tenant","id":"default"}}}}}}}},
                {{"uid":{{"type":"Path","id":"{path}"}},"parents":[{{"type":"Path","id":"{folder}"}}],
                 "attrs":{{"name":"{path}","tenant":{{"__entity":{{"type":"Tenant","id":"default"}}}}}}}}]"#
        );
        let entities = cedar_policy::Entities::from_json_str(&entities, Some(&schema)).expect("entities");
        let uid = |kind: &str, id: &str| format!("{kind}::\"{id}\"").parse().expect("a name");
        let context =
            format!(r#"{{"phase":{{"__entity":{{"type":"Phase","id":"EXECUTE"}}}},"planned":{planned}}}"#);
        let context = cedar_policy::Context::from_json_str(&context, None).expect("a context");
        let (agent, action, path) = (uid("Agent", "a"), uid("Action", "write_file"), uid("Path", path));
        let request = cedar_policy::Request::new(agent, action, path, context, None).expect("a request");
        Plain { set, entities, request }
    }

    fn report(&self, kind: &str, policies: usize, case: &str, lasts: Duration) {
        let authorizer = cedar_policy::Authorizer::new();
        let response = authorizer.is_authorized(&self.request, &self.set, &self.entities);
        assert_eq!(response.decision() == cedar_policy::Decision::Allow, case == "allow");
        let took = measured(lasts, || {
            black_box(authorizer.is_authorized(black_box(&self.request), &self.set, &self.entities));
        });
        print("plain", kind, policies, case, policies, &took);
    }
}

/// How long each call took, in nanoseconds, to three digits.
fn measured(lasts: Duration, mut call: impl FnMut()) -> Histogram<u64> {
    let begun = Instant::now();
    while begun.elapsed() < lasts / 10 {
        call();
    }
    let mut took = Histogram::new(3).expect("three digits are fine");
    let begun = Instant::now();
    while begun.elapsed() < lasts {
        let asked = Instant::now();
        call();
        let nanos = u64::try_from(asked.elapsed().as_nanos()).expect("no call takes centuries");
        took.record(nanos).expect("a histogram that grows");
    }
    took
}

fn print(what: &str, kind: &str, policies: usize, case: &str, candidates: usize, took: &Histogram<u64>) {
    let us = |share: f64| {
        let hundredths = took.value_at_quantile(share) / 10;
        format!("{}.{:02}", hundredths / 100, hundredths % 100)
    };
    println!(
        r#"{{"what":"{what}","set":"{kind}","policies":{policies},"answer":"{case}","candidates":{candidates},"p50_us":{},"p99_us":{},"p999_us":{}}}"#,
        us(0.5),
        us(0.99),
        us(0.999)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_measured_answers_as_it_should() {
        measure(&SIZES[..1], Duration::from_millis(2));
    }
}
