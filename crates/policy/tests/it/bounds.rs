//! Every bound is said twice: at it, all is as ever; beyond it, the answer is no (G4).

use std::collections::BTreeMap;

use eparch_domain::{Action, OperatorRole, Phase, Tier, limits};
use eparch_policy::{
    BadResource, Circumstances, Decision, History, OperatorSubject, Owner, PolicySet, PolicyText, Request,
    Resource, ResourceKind, Subject,
};

use crate::common::{PROJECT, TENANT, agent, load, name, own, run};

fn resource(kind: ResourceKind, target: &str) -> Result<Resource, BadResource> {
    Resource::new(kind, target, name(TENANT), own())
}

fn reads(history: History) -> Request {
    Request {
        subject: Subject::Agent(agent(Tier::T1)),
        action: Action::ReadFile,
        resource: resource(ResourceKind::Path, "src/main.rs").expect("a path"),
        circumstances: Circumstances { phase: Phase::Execute, history, ..Circumstances::default() },
    }
}

/// A history of so many facts, each as long as one may be.
fn history(facts: usize) -> History {
    let mut history = History::default();
    for number in 0..facts {
        history.note_fact(&format!("{number:0>width$}", width = limits::HISTORY_FACT_BYTES));
    }
    history
}

#[test]
fn g4_a_run_that_did_more_than_can_be_told_is_denied_everything() {
    let policies = PolicySet::defaults();
    let full = history(limits::HISTORY_FACTS);
    assert!(!full.overflowed());
    assert_eq!(full.facts().count(), limits::HISTORY_FACTS);
    assert_eq!(policies.decide(&reads(full.clone())).decision, Decision::Allow);

    let mut again = full.clone();
    again.note_fact(full.facts().next().expect("it is full"));
    assert!(!again.overflowed(), "what it holds it need not hold twice");

    let mut longer = History::default();
    longer.note_fact(&"x".repeat(limits::HISTORY_FACT_BYTES + 1));
    for over in [history(limits::HISTORY_FACTS + 1), longer, History::unknown()] {
        assert!(over.overflowed());
        let verdict = policies.decide(&reads(over));
        assert_eq!((verdict.decision, &*verdict.reason), (Decision::Deny, "history_overflow"));
        assert!(!verdict.retryable, "what was done stays done");
    }
}

#[test]
fn what_was_done_is_told_with_its_target_and_is_left_out_by_name() {
    let mut history = History::default();
    history.note(Action::ReadSecret, "inventory/hosts");
    assert_eq!(history.facts().collect::<Vec<_>>(), ["read_secret", "read_secret:inventory/hosts"]);
    history.leave_out(&["read_secret".to_owned()]);
    assert!(!history.holds("read_secret") && history.holds("read_secret:inventory/hosts"));
}

#[test]
fn a_name_is_as_long_and_has_as_many_parts_as_it_may() {
    use BadResource::{TooLong, TooManyParts};
    let long = |bytes| resource(ResourceKind::Path, &"a".repeat(bytes)).map(|_| ());
    assert_eq!(long(limits::RESOURCE_BYTES), Ok(()));
    assert_eq!(long(limits::RESOURCE_BYTES + 1), Err(TooLong));
    for (kind, by) in [(ResourceKind::Path, "/"), (ResourceKind::Host, "-")] {
        let parts = |count: usize| resource(kind, &vec!["a"; count].join(by)).map(|_| ());
        assert_eq!(parts(limits::RESOURCE_PARTS), Ok(()), "{kind:?}");
        assert_eq!(parts(limits::RESOURCE_PARTS + 1), Err(TooManyParts), "{kind:?}");
    }
}

/// A policy with one annotation more, and with white space up to a size.
fn policy(id: &str, reason: &str, more: &str, bytes: usize) -> String {
    let begin = format!("@id(\"{id}\") @reason(\"{reason}\") {more}\npermit (principal, action, resource)");
    let room = bytes.saturating_sub(begin.len() + 1);
    format!("{begin}{};", " ".repeat(room))
}

fn is_read(text: &str) -> bool {
    load(text).is_ok()
}

#[test]
fn annotations_are_as_long_as_they_may_be() {
    for (length, fits) in [(0, false), (1, true), (128, true), (129, false)] {
        assert_eq!(is_read(&policy(&"a".repeat(length), "r", "", 0)), fits, "an id of {length}");
    }
    for (length, fits) in [(0, false), (1, true), (64, true), (65, false)] {
        assert_eq!(is_read(&policy("a", &"r".repeat(length), "", 0)), fits, "a reason of {length}");
    }
    for (length, fits) in [(0, false), (1, true), (512, true), (513, false)] {
        let unlock = format!("@unlock(\"{}\")", "u".repeat(length));
        assert_eq!(is_read(&policy("a", "r", &unlock, 0)), fits, "an unlock of {length}");
    }
    assert!(!is_read(&policy("a", "r", "@unlock(\"a\\nb\")", 0)), "one line");
}

#[test]
fn annotations_have_the_letters_they_may() {
    for (id, fits) in [
        ("a.b_c-9", true),
        ("9a", true),
        (".a", false),
        ("-a", false),
        ("_a", false),
        ("aB", false),
        ("a b", false),
    ] {
        assert_eq!(is_read(&policy(id, "r", "", 0)), fits, "{id}");
    }
    for (reason, fits) in
        [("a_9", true), ("9a", false), ("_a", false), ("a-b", false), ("aB", false), ("a.b", false)]
    {
        assert_eq!(is_read(&policy("a", reason, "", 0)), fits, "{reason}");
    }
}

#[test]
fn files_and_policies_are_as_large_and_as_many_as_they_may_be() {
    assert!(is_read(&policy("a", "r", "", limits::POLICY_BYTES)));
    assert!(!is_read(&policy("a", "r", "", limits::POLICY_BYTES + 1)));

    let one = policy("a", "r", "", 0);
    let file = |bytes: usize| format!("{one}{}", " ".repeat(bytes - one.len()));
    assert!(is_read(&file(limits::POLICY_FILE_BYTES)));
    assert!(!is_read(&file(limits::POLICY_FILE_BYTES + 1)));

    let texts: Vec<String> =
        (0..=limits::POLICY_FILES).map(|number| policy(&format!("a{number}"), "r", "", 0)).collect();
    let files: Vec<PolicyText<'_>> = texts.iter().map(|text| PolicyText { name: "f", text }).collect();
    assert_eq!(PolicySet::load(&files[1..]).expect("as many as may be").rules().len(), limits::POLICY_FILES);
    assert!(PolicySet::load(&files).is_err());

    let nested = |depth: usize| {
        let (open, close) = ("(".repeat(depth), ")".repeat(depth));
        format!(
            "@id(\"a\") @reason(\"r\") permit (principal, action, resource) when {{ {open}true{close} }};"
        )
    };
    // The braces around a condition are one of them.
    assert!(is_read(&nested(limits::POLICY_NESTING - 1)));
    assert!(!is_read(&nested(limits::POLICY_NESTING)));
}

#[test]
fn what_was_used_counts_however_much_it_is() {
    let text = "@id(\"a\") @reason(\"r\") permit (principal, action, resource);\n\
        @id(\"b\") @reason(\"spent\") forbid (principal, action, resource) when { context.spent_tokens > 1000 };\n\
        @id(\"c\") @reason(\"paid\") forbid (principal, action, resource) when { context.spent_microdollars > 1000 };";
    let policies = load(text).expect("sound");
    for (tokens, money, reason) in [
        (1_000, 1_000, "r"),
        (1_001, 0, "spent"),
        (0, 1_001, "paid"),
        (u64::MAX, 0, "spent"),
        (0, u64::MAX, "paid"),
    ] {
        let mut request = reads(History::default());
        request.circumstances.spent_tokens = tokens;
        request.circumstances.spent_microdollars = money;
        assert_eq!(&*policies.decide(&request).reason, reason, "{tokens} {money}");
    }
}

/// An agent is refused what it wants done to itself before any policy is asked, and nothing else that is called as it is.
#[test]
fn g5_an_agent_does_nothing_to_itself() {
    let policies =
        load("@id(\"a\") @reason(\"anything\") permit (principal, action, resource);").expect("it is sound");
    let own_id = agent(Tier::T4).id.to_string();
    let ask = |action: Action, resource: Resource| {
        let circumstances =
            Circumstances { phase: Phase::Execute, planned: true, ..Circumstances::default() };
        let request = Request { subject: Subject::Agent(agent(Tier::T4)), action, resource, circumstances };
        policies.decide(&request).reason
    };
    let of =
        |name: &str| Resource::agent(name, Tier::T1, crate::common::name(TENANT), own()).expect("an agent");
    for action in [Action::Promote, Action::Revoke] {
        assert_eq!(&*ask(action, of(&own_id)), "about_itself");
        assert_eq!(&*ask(action, of("another")), "anything");
    }
    let file = resource(ResourceKind::Path, &own_id).expect("a path");
    assert_eq!(&*ask(Action::ReadFile, file), "anything");
}

/// What is about other kinds of things is no candidate: only so does the number of policies cost nothing.
#[test]
fn what_is_about_another_kind_of_thing_is_not_looked_at() {
    let one =
        |id: &str, scope: &str| format!("@id(\"{id}\") @reason(\"r\") permit (principal is {scope});\n");
    let text = one("a", "Agent, action, resource is Path")
        + &one("b", "Agent, action, resource is Host")
        + &one("c", "Operator, action, resource is Path")
        + &one("d", "Agent, action, resource is Tool");
    let policies = load(&text).expect("it is sound");
    let verdict = policies.decide(&reads(History::default()));
    assert_eq!((verdict.candidates, verdict.policies.len()), (1, 1), "{verdict:?}");
}

/// What a policy reaches through attributes, without naming it, is there to be compared and to be in.
#[test]
fn what_is_reached_through_attributes_is_known() {
    let elsewhere = Owner::Project { project: name("shop") };
    let another_run = Owner::Run { project: name(PROJECT), run: run(2) };
    let of_agent = |owner: Owner| {
        let resource = Resource::new(ResourceKind::Path, "src/main.rs", name(TENANT), owner).expect("a path");
        Request { resource, ..reads(History::default()) }
    };
    let person = OperatorSubject {
        name: name("ada"),
        role: OperatorRole::Approver,
        groups: Vec::new(),
        max_tier: Tier::T2,
        tenant: name(TENANT),
    };
    let of_person = || Request { subject: Subject::Operator(person.clone()), ..reads(History::default()) };
    let cases = [
        (
            "principal has project && resource has project && resource.project == principal.project",
            of_agent(own()),
            true,
        ),
        (
            "principal has project && resource has project && resource.project == principal.project",
            of_agent(elsewhere.clone()),
            false,
        ),
        ("principal has run && resource has run && resource.run == principal.run", of_agent(own()), true),
        (
            "principal has run && resource has run && resource.run == principal.run",
            of_agent(another_run),
            false,
        ),
        (
            "principal has run && resource has run && resource.run == principal.run",
            of_agent(elsewhere),
            false,
        ),
        (
            "principal in principal.tier && principal has project && principal in principal.project && principal has run && principal in principal.run",
            of_agent(own()),
            true,
        ),
        ("resource in resource.tenant && resource.tenant == principal.tenant", of_agent(own()), true),
    ];
    let set = |condition: &str| {
        let text = format!(
            "@id(\"a\") @reason(\"r\") permit (principal is Agent, action, resource is Path) when {{ {condition} }};"
        );
        load(&text).expect("it is sound")
    };
    // One set is asked all of it, in one order and in the other: what it said of one run is not what it says of another.
    let orders: [Vec<_>; 2] = [cases.iter().collect(), cases.iter().rev().collect()];
    for order in orders {
        let mut sets = BTreeMap::new();
        for (condition, request, holds) in order {
            let said = sets.entry(condition).or_insert_with(|| set(condition)).decide(request).decision;
            assert_eq!(said == Decision::Allow, *holds, "{condition}");
        }
    }
    let text = "@id(\"a\") @reason(\"r\") permit (principal is Operator, action, resource) when { principal in principal.role };";
    assert_eq!(load(text).expect("it is sound").decide(&of_person()).decision, Decision::Allow);
}
