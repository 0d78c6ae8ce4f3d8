//! Policies that are read, and policies that are refused.

use eparch_domain::{Action, Tier, limits};
use eparch_policy::{DEFAULTS, PolicySet, PolicyText, Subject, codes, reasons};
use proptest::prelude::*;

use crate::common::load;
use crate::model::{Cell, USUAL, Where, Who};

/// Everything that is wrong with a text, one line each.
fn problems(text: &str) -> Vec<String> {
    load(text).expect_err("refused").iter().map(ToString::to_string).collect()
}

fn only_problem(text: &str) -> String {
    let mut all = problems(text);
    assert_eq!(all.len(), 1, "{all:#?}");
    all.remove(0)
}

const GOOD: &str = "@id(\"a\")\n@reason(\"r\")\npermit (principal, action, resource);\n";

#[test]
fn the_policies_that_ship_are_without_fault() {
    if let Err(problems) = PolicySet::load(&DEFAULTS) {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        panic!("{}", lines.join("\n"));
    }
}

/// What it is to insist on what the policies that ship forbid (1.4): all that is not a forbidden action.
#[test]
fn what_insisting_is_the_policies_that_ship_say() {
    let set = PolicySet::defaults();
    let said = set.rules().filter_map(|rule| Some((&*rule.id, rule.violation?.as_str())));
    let expected = [
        ("never-03-vault-root", "ROOT_SECRET_ACCESS"),
        ("never-04-modify-governance", "GOVERNANCE_TAMPERING"),
        ("never-06-above-own-tier", "TIER_ESCALATION"),
        ("never-07-governance", "GOVERNANCE_TAMPERING"),
        ("never-07-secret-then-send", "SECRET_EXFILTRATION"),
        ("never-11-prod-below-t3", "FORBIDDEN_TARGET"),
        ("never-12-staging-db-below-t2", "FORBIDDEN_TARGET"),
    ];
    assert_eq!(said.collect::<Vec<_>>(), expected);
}

/// What only people are meant by is marked, since nothing enforces it.
#[test]
fn policies_for_people_are_known_by_their_scope() {
    for (principal, people) in [
        ("principal", false),
        ("principal is Agent", false),
        ("principal in Tier::\"T0\"", false),
        ("principal in Tenant::\"acme\"", false),
        ("principal is Operator", true),
        ("principal is Operator in Group::\"leads\"", true),
        ("principal in Role::\"admin\"", true),
        ("principal in Group::\"leads\"", true),
        ("principal == Operator::\"alice\"", true),
    ] {
        let set = load(&format!("@id(\"a\") @reason(\"r\") forbid ({principal}, action, resource);"));
        let set = set.expect("sound");
        assert_eq!(set.rule("a").expect("it is there").for_people, people, "{principal}");
    }
    let shipped = PolicySet::defaults();
    assert!(shipped.rules().all(|rule| rule.for_people == (rule.file == "people.cedar")));
}

#[test]
fn g4_no_policy_at_all_is_refused() {
    let nothing =
        "test.cedar:1:1: error[EP0807]: there is no policy at all, so nothing could ever be allowed";
    for text in ["", "  \n", "// permit (principal, action, resource);\n"] {
        assert!(only_problem(text).starts_with(nothing), "{text:?}");
    }
    assert_eq!(PolicySet::load(&[]).expect_err("refused")[0].code, codes::NO_POLICIES);
}

#[test]
fn g4_one_fault_refuses_the_whole_set() {
    assert!(load(GOOD).is_ok());
    assert!(load(&format!("{GOOD}@id(\"b\") @reason(\"r\") forbid (principal, action);")).is_err());
}

#[test]
fn every_problem_is_told_at_once_with_its_place() {
    let text = "\
@id(\"a\")
permit (principal, action, resource);

// A remark; with a semicolon.
@id(\"a\") @reason(\"Not A Code\") @foo(\"x\")
permit (principal, action == Action::\"read_fil\", resource);
@id(\"c\") @reason(\"r\")
permit (principal, action == Action::\"read_file\", resource) when { resource.size > 3 };
@id(\"d\") @reason(\"r\") @verdict(\"ask\")
forbid (principal, action, resource);
@id(\"e\") @reason(\"r\") @verdict(\"modify\")
permit (principal, action, resource) when { };
@id(\"f\") @reason(\"r\")
permit (principal, action, resource) when { context.planned }
";
    insta::assert_snapshot!(problems(text).join("\n"));
}

#[test]
fn annotations_are_what_they_can_be() {
    let policy = |annotations: &str| format!("{annotations}\npermit (principal, action, resource);");
    let told = |annotations: &str| only_problem(&policy(annotations));
    assert!(told("@reason(\"r\")").contains("test.cedar:1:1: error[EP0803]: the policy has no @id"));
    assert!(told("@id(\"a\")").contains("EP0803]: the policy has no @reason"));
    assert!(told("@id(\"A b\") @reason(\"r\")").contains("1:1: error[EP0805]: \"A b\" cannot be an @id"));
    assert!(told("@id(\"a\") @reason(\"other_tenant\")").contains("1:10: error[EP0805]"));
    assert!(told("@id(\"a\") @reason(\"r\") @verdict(\"maybe\")").contains("\"maybe\" is no @verdict"));
    assert!(told("@id(\"a\") @reason(\"r\") @verdict(\"modify\")").contains("and not what to change"));
    assert!(
        told("@id(\"a\") @reason(\"r\") @verdict(\"modify\") @change(\"x\")").contains("\"x\" is no @change")
    );
    assert!(told("@id(\"a\") @reason(\"r\") @change(\"wrap\")").contains("@change goes with"));
    assert!(told("@id(\"a\") @reason(\"r\") @shadow(\"yes\")").contains("@shadow takes no value"));
    assert!(told("@id(\"a\") @reason(\"r\") @retryable").contains("@retryable belongs to a forbid"));
    assert!(told("@id(\"a\") @reason(\"r\") @unlock(\" \")").contains("@unlock is not a line of text"));
    assert!(told("@id(\"a\") @reason(\"r\") @severity(\"high\")").contains("1:23: error[EP0804]"));
    let forbid = |annotation: &str| {
        only_problem(&format!("@id(\"a\") @reason(\"r\") {annotation} forbid (principal, action, resource);"))
    };
    assert!(forbid("@violation(\"EXFILTRATION\")").contains("EP0805]: \"EXFILTRATION\" is no @violation"));
    assert!(forbid("@violation").contains("is no @violation (there are "));
    assert!(
        told("@id(\"a\") @reason(\"r\") @violation(\"RATE_LIMIT_EXCEEDED\")").contains("belongs to a forbid")
    );
    for own in reasons::ALL {
        let said = told(&format!("@id(\"a\") @reason({own:?})"));
        assert!(said.contains("EP0805]: the reason") && said.contains("is Eparch's own"), "{said}");
    }
    for good in
        ["@shadow", "@unlock(\"ask bob\")", "@verdict(\"ask\")", "@verdict(\"modify\") @change(\"wrap\")"]
    {
        assert!(load(&policy(&format!("@id(\"a\") @reason(\"r\") {good}"))).is_ok(), "{good}");
    }
}

#[test]
fn an_id_is_used_once_in_all_files() {
    let files = [PolicyText { name: "one.cedar", text: GOOD }, PolicyText { name: "two.cedar", text: GOOD }];
    let problems = PolicySet::load(&files).expect_err("refused");
    assert_eq!(
        problems[0].to_string(),
        "two.cedar:1:1: error[EP0806]: the id \"a\" is used twice (its first use is one.cedar:1)"
    );
    // It stands where the id does, wherever that is in its policy.
    let second = "@reason(\"r\")\n  @id(\"a\") permit (principal, action, resource);\n";
    assert!(only_problem(&format!("{GOOD}{second}")).starts_with("test.cedar:5:3: error[EP0806]"));
}

#[test]
fn what_can_never_apply_is_refused() {
    let text = "@id(\"a\") @reason(\"r\") forbid (principal in Tier::\"T1\", action == Action::\"read_file\", resource is Host);";
    assert!(problems(text)[0].contains("EP080"), "{:?}", problems(text));
    let never = "@id(\"a\") @reason(\"r\") forbid (principal, action, resource) when { false };";
    assert!(only_problem(never).contains("error[EP0809]"), "{:?}", problems(never));
    let misspelt = "@id(\"a\") @reason(\"r\") forbid (principal in Tier::\"T5\", action, resource);";
    assert!(problems(misspelt)[0].contains("T5"), "{:?}", problems(misspelt));
}

/// G4: a forbid that names a thing as no request does is a door its author believes closed.
#[test]
fn g4_a_name_that_nothing_has_is_refused_with_the_one_it_should_be() {
    for (scope, hint) in [
        ("resource in Path::\"secrets/\"", "write Path::\"secrets\""),
        ("resource in Path::\"./x\"", "write Path::\"x\""),
        ("resource == Path::\"a//b\"", "write Path::\"a/b\""),
        ("resource in Path::\"a/../b\"", "without detours"),
        ("resource in Path::\"\"", "cannot be empty"),
        ("resource in Path::\"docs/*\"", "`resource in Path::\"docs\"`"),
        ("resource in Secret::\"prod/\"", "write Secret::\"prod\""),
        ("resource in Host::\"PROD-*\"", "write Host::\"prod-*\""),
        ("resource in Host::\"prod-1.\"", "write Host::\"prod-1\""),
        ("resource == Host::\"PROD-1\"", "write Host::\"prod-1\""),
        ("resource in Host::\"prod*\"", "write Host::\"prod-*\""),
        ("resource in Host::\"*\"", "`resource is Host`"),
        ("resource in Host::\"pr*od-*\"", "cannot stand in the name of a host"),
        ("resource == Host::\"prod-*\"", "resource in Host::\"prod-*\""),
        ("resource in Project::\"no name\"", "' '"),
        ("resource in Run::\"x\"", "a run is called run_"),
    ] {
        let policy = |scope: &str, rest: &str| {
            format!("@id(\"a\") @reason(\"r\") forbid (principal, action, {scope}){rest};")
        };
        let told = only_problem(&policy(scope, ""));
        assert!(told.contains("error[EP0809]: nothing is called") && told.contains(hint), "{told}");
        // The place is that of the name.
        let column = policy(scope, "").find(scope.rsplit(' ').next().expect("a name")).map_or(0, |at| at + 1);
        if !scope.contains("no name") {
            assert!(told.starts_with(&format!("test.cedar:1:{column}: ")), "{told}");
        }
        // And so in a condition, where it is as silent.
        if !scope.contains("== Host") {
            let told = only_problem(&policy("resource", &format!(" unless {{ {scope} }}")));
            assert!(told.contains("error[EP0809]") && told.contains(hint), "{told}");
        }
    }
    for good in [
        "Path::\"/\"",
        "Path::\".\"",
        "Path::\"/etc\"",
        "Host::\"-*\"",
        "Host::\"a-b-*\"",
        "Host::\"localhost\"",
        "Run::\"run_00000000000000000000000001\"",
    ] {
        let text = format!("@id(\"a\") @reason(\"r\") forbid (principal, action, resource in {good});");
        assert!(load(&text).is_ok(), "{good}: {:?}", problems(&text));
    }
    // Each is told once, in the order in which they stand there.
    let several = "@id(\"a\") @reason(\"r\") forbid (principal, action, resource) when { \
        resource in Host::\"PROD-1\" || resource in Host::\"DEV-1\" || resource in Host::\"PROD-1\" };";
    let told = problems(several);
    let named = ["PROD-1", "DEV-1"].map(|name| told.iter().filter(|told| told.contains(name)).count());
    assert_eq!((told.len(), named), (2, [1, 1]), "{told:?}");
    assert!(told[0].contains("PROD-1"), "{told:?}");
    // Written with escapes it is the same name, and as wrong.
    let escaped =
        "@id(\"a\") @reason(\"r\") forbid (principal, action, resource in Path::\"secrets\\u{2f}\");";
    assert!(only_problem(escaped).contains("write Path::\"secrets\""));
}

/// A name with an escape in it is the same name: what it reads is there to be read.
#[test]
fn f9_an_attribute_is_read_however_its_name_is_written() {
    let cell =
        Cell { who: Who::Tier(1), action: "read_file", place: Where::Own, phase: "EXECUTE", around: USUAL };
    for condition in [
        "resource has run",
        "resource has \"run\"",
        "resource has \"r\\u{75}n\"",
        "context[\"ph\\x61se\"] == Phase::\"EXECUTE\"",
    ] {
        let text = format!(
            "@id(\"all\") @reason(\"all\") permit (principal, action, resource);\n\
             @id(\"not\") @reason(\"not\") forbid (principal, action == Action::\"read_file\", resource) when {{ {condition} }};"
        );
        let set = load(&text).unwrap_or_else(|problems| panic!("{problems:?}"));
        assert_eq!(&*set.decide(&crate::matrix::request(&cell)).reason, "not", "{condition}");
    }
}

/// A policy that judges paths by the text of their name says nothing of a folder of which somebody asks.
#[test]
fn g4_where_paths_are_judged_by_their_names_is_known() {
    let agent = crate::common::agent(Tier::T1);
    for (scope, condition, place) in [
        ("resource", "resource is Path && resource.name like \"*.pem\"", Some(None)),
        ("resource is Path", "resource.name == \"x\"", Some(None)),
        ("resource is Path", "resource[\"n\\u{61}me\"] like \"*.pem\"", Some(None)),
        ("resource in Path::\"certs\"", "resource.name like \"*.pem\"", Some(Some("certs"))),
        ("resource is Path in Path::\"certs\"", "resource.name like \"*.pem\"", Some(Some("certs"))),
        ("resource in Scope::\"project\"", "resource.name like \"*.pem\"", Some(None)),
        (
            "resource is Path",
            "(if context.planned then resource else resource).name like \"*.pem\"",
            Some(None),
        ),
        ("resource is Path", "principal.name like \"a*\"", None),
        ("resource is Path", "resource in Path::\"name\"", None),
        ("resource is Path", "context.planned", None),
    ] {
        let set = |principal: &str, watched: &str| {
            let text = format!(
                "@id(\"a\") @reason(\"r\") {watched} forbid ({principal}, action == Action::\"read_file\", {scope}) when {{ {condition} }};"
            );
            load(&text).unwrap_or_else(|problems| panic!("{problems:?}"))
        };
        let judged = |set: &PolicySet, action| {
            let found = set.judged_by_name(&Subject::Agent(agent.clone()), action);
            found.into_iter().map(|place| place.map(str::to_owned)).collect::<Vec<_>>()
        };
        let expected: Vec<_> = place.into_iter().map(|place| place.map(str::to_owned)).collect();
        let one = set("principal is Agent", "");
        assert_eq!(judged(&one, Action::ReadFile), expected, "{scope} {condition}");
        // Of another action, for others, or only watched, it judges nothing here.
        assert!(judged(&one, Action::WriteFile).is_empty());
        assert!(judged(&set("principal in Tier::\"T2\"", ""), Action::ReadFile).is_empty());
        assert!(judged(&set("principal is Agent", "@shadow"), Action::ReadFile).is_empty());
    }
    // What is about hosts is not about paths, whatever is done.
    let hosts = "@id(\"a\") @reason(\"r\") forbid (principal is Agent, action, resource is Host in Scope::\"project\") \
                 when { resource.name like \"*.pem\" };";
    let hosts = load(hosts).expect("it is sound");
    assert!(hosts.judged_by_name(&Subject::Agent(agent.clone()), Action::ReadFile).is_empty());
    assert!(PolicySet::defaults().judged_by_name(&Subject::Agent(agent), Action::ReadFile).is_empty());
}

#[test]
fn templates_are_no_policies() {
    let text = "@id(\"a\") @reason(\"r\") permit (principal == ?principal, action, resource);";
    assert!(only_problem(text).contains("error[EP0801]"));
}

#[test]
fn sizes_are_bounded() {
    let long = format!(
        "@id(\"a\") @reason(\"r\") permit (principal, action, resource) when {{ \"{}\" == \"\" }};",
        "x".repeat(limits::POLICY_BYTES)
    );
    assert!(only_problem(&long).contains("error[EP0808]: the policy has"));
    let file = "/".repeat(limits::POLICY_FILE_BYTES + 1);
    assert!(only_problem(&file).contains("error[EP0808]: the file has"));
    let files = vec![PolicyText { name: "f", text: GOOD }; limits::POLICY_FILES + 1];
    assert!(PolicySet::load(&files).expect_err("refused")[0].message.contains("files of policies"));
    let deep = format!(
        "@id(\"a\") @reason(\"r\") permit (principal, action, resource) when {{ {}true{} }};",
        "(".repeat(40),
        ")".repeat(40)
    );
    assert!(
        only_problem(&deep).contains("test.cedar:1:98: error[EP0808]: brackets nest more than 32 deep"),
        "{}",
        only_problem(&deep)
    );
    let many: String = (0..300).map(|number| format!("permit (principal, action, {number});")).collect();
    assert_eq!(problems(&many).len(), 200);
}

#[test]
fn the_deepest_conditions_overflow_no_stack() {
    let thread = std::thread::Builder::new().stack_size(2 << 20);
    let deep = thread.spawn(|| {
        let nests = [
            ("(", "true", ")"),
            ("!", "true", ""),
            ("[", "1", "]"),
            ("{a:", "1", "}"),
            ("true && ", "true", ""),
            ("1 + ", "1 == 2", ""),
            ("if true then true else ", "true", ""),
            ("-", "1 == 1", ""),
            ("principal.a", "", ".a"),
            ("!(", "true", ")"),
            ("[1].contains(", "1", ")"),
            // Cedar reads a division before it refuses it: no remark begins there.
            ("1 / (", "1", ")"),
            ("(if ", "true", " then true else true)"),
        ];
        for (open, middle, close) in nests {
            let fits = (limits::POLICY_BYTES - 100) / (open.len() + close.len());
            // As long as a policy can be, and as deep as its brackets can.
            for times in [fits, limits::POLICY_NESTING - 1] {
                let body = format!("{}{middle}{}", open.repeat(times), close.repeat(times));
                let text = format!(
                    "@id(\"a\") @reason(\"r\") permit (principal, action, resource) when {{ {body} }};"
                );
                // Whether it is refused or not: it ends, and so does asking what was loaded.
                if let Ok(set) = load(&text) {
                    set.decide(&crate::matrix::request(&Cell {
                        who: Who::Tier(1),
                        action: "read_file",
                        place: Where::Own,
                        phase: "EXECUTE",
                        around: USUAL,
                    }));
                }
            }
        }
    });
    deep.expect("a thread").join().expect("nothing overflows");
}

#[test]
fn the_digest_is_of_names_and_texts_in_any_order() {
    let (one, two) = (
        PolicyText { name: "a", text: GOOD },
        PolicyText { name: "b", text: "@id(\"b\") @reason(\"r\") forbid (principal, action, resource);" },
    );
    let digest = |files: &[PolicyText<'_>]| PolicySet::load(files).expect("sound").digest();
    assert_eq!(digest(&[one, two]), digest(&[two, one]));
    assert_ne!(digest(&[one, two]), digest(&[one]));
    assert_ne!(digest(&[one]), digest(&[PolicyText { name: "c", ..one }]));
    let files = PolicySet::load(&[two, one]).expect("sound").files();
    assert_eq!(files, [one, two].map(|file| (file.name.to_owned(), file.text.to_owned())), "as they were");
}

proptest! {
    #[test]
    fn f11_arbitrary_text_never_panics(text in "(?s).{0,200}") {
        let _ = load(&text);
    }

    #[test]
    fn f11_text_that_looks_like_policies_never_panics(
        words in prop::collection::vec(prop::sample::select(vec![
            "@id(\"a\")", "@reason(\"r\")", "@verdict(\"ask\")", "@shadow", "permit", "forbid", "(", ")", ",",
            "principal", "action", "resource", "in", "is", "==", "Tier::\"T1\"", "Action::\"read_file\"", "Path",
            "when", "unless", "{", "}", ";", "context.phase", "&&", "\"", "//", "\n", "1", "?principal", "[", "]",
        ]), 0..40),
    ) {
        let _ = load(&words.join(" "));
    }
}

/// However many policies stand before it in its file.
#[test]
fn a_fault_is_told_where_it_stands() {
    let second = "@id(\"b\")\n@reason(\"r\")\n  @colour(\"red\")\npermit (principal, action, resource);\n";
    let problems = load(&format!("{GOOD}{second}")).expect_err("refused");
    let places: Vec<(usize, usize)> = problems.iter().map(|problem| (problem.line, problem.column)).collect();
    assert_eq!(places, [(6, 3)], "{problems:?}");
}

/// What would unlock something is one line that people can read, of at most so many bytes.
#[test]
fn what_unlocks_something_is_a_line() {
    let with = |unlock: &str| {
        load(&format!(
            "@id(\"a\") @reason(\"r\") @unlock(\"{unlock}\") permit (principal, action, resource);"
        ))
    };
    assert!(with(&"x".repeat(limits::POLICY_UNLOCK_BYTES)).is_ok());
    for wrong in ["", "two\\nlines", "\\u{1b}[2J", &"x".repeat(limits::POLICY_UNLOCK_BYTES + 1)] {
        let problems = with(wrong).expect_err(wrong);
        assert_eq!(problems.len(), 1, "{wrong}");
        assert!(problems[0].to_string().contains("@unlock is not a line of text"), "{wrong}");
    }
}

/// Only what forbids, or asks, keeps anybody from taking authority away.
#[test]
fn what_would_keep_people_from_revoking_is_known() {
    for (effect, scope, against) in [
        ("forbid", "principal is Operator, action == Action::\"revoke\"", true),
        ("forbid", "principal is Operator, action", true),
        ("permit", "principal is Operator, action == Action::\"revoke\"", false),
        ("forbid", "principal is Agent, action == Action::\"revoke\"", false),
        ("forbid", "principal is Operator, action == Action::\"approve\"", false),
    ] {
        let set =
            load(&format!("@id(\"a\") @reason(\"r\") {effect} ({scope}, resource);")).expect("it is sound");
        let said: Vec<bool> = set.rules().map(|rule| rule.against_revoking).collect();
        assert_eq!(said, [against], "{effect} {scope}");
    }
}

/// The names in a set are told by kind, in order.
#[test]
fn names_are_told_by_kind() {
    let set = load(
        "@id(\"a\") @reason(\"r\") permit (principal is Agent, action == Action::\"read_file\", resource in Path::\"docs\");\n\
         @id(\"b\") @reason(\"r\") permit (principal is Agent, action == Action::\"read_file\", resource == Path::\"a.txt\");",
    )
    .expect("it is sound");
    assert_eq!(set.names_of(eparch_policy::ResourceKind::Path), ["a.txt", "docs"]);
    assert!(set.names_of(eparch_policy::ResourceKind::Host).is_empty());
}

/// Asking again helps where people are asked, and where a policy says so.
#[test]
fn what_asking_again_helps_is_known() {
    for (annotations, effect, retryable) in [
        ("@verdict(\"ask\")", "permit", true),
        ("@retryable", "forbid", true),
        ("", "forbid", false),
        ("", "permit", false),
    ] {
        let text = format!("@id(\"a\") @reason(\"r\") {annotations} {effect} (principal, action, resource);");
        let said: Vec<bool> = load(&text).expect("it is sound").rules().map(|rule| rule.retryable).collect();
        assert_eq!(said, [retryable], "{annotations} {effect}");
    }
}
