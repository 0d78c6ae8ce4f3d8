//! One line of a scenario becomes the events it stands for.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use eparch_domain::{
    AgentId, Artifact, Digest, GateId, Grade, Name, Phase, RunId, Span, StageStatus, StandingId, Tier,
};
use eparch_governor::{
    ActionAsked, Allowed, Bearer, BreakGlassAnswer, BreakGlassRequest, Check, ClockMoved, Credential,
    CredentialOutcome, Ended, Event, GateAnswer, GateDecision, GlassScope, Key, Lineage, Operator,
    OperatorRole, Outcome, PerformanceEnd, PoliciesAnswer, PromotionAnswer, RunRequest, SecretAccess,
    SecretOutcome, Signal, SignedAnswer, Usage, command_params, command_text,
};
use eparch_policy::{PolicySet, PolicyText};
use serde_json::Value;

use crate::home::Home;
use crate::words::{Args, value};

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// `r1` is the run with the bits 1.
pub(crate) fn run_id(text: &str) -> RunId {
    let number = text.strip_prefix('r').and_then(|digits| digits.parse().ok());
    RunId::from_bits(number.unwrap_or_else(|| panic!("a run is called r1, r2 …, not {text}")))
}

/// The events of a line. Most lines are one; `completes` and `fails` take an agent from its bootstrap to its end.
pub(crate) fn events(home: &mut Home, words: &[String]) -> Vec<Event> {
    let args = Args::of(&words[1..]);
    let event = match words[0].as_str() {
        "boot" => {
            home.epoch += 1;
            let agents_at_once = args.read("agents").unwrap_or(8);
            let clock_moved = args.read("moved").map(|by_ms: i64| {
                let from = home.last.wall;
                home.wall_ahead += by_ms;
                ClockMoved { by_ms, from }
            });
            Event::Booted { epoch: home.epoch, version: "test".to_owned(), agents_at_once, clock_moved }
        }
        "tick" => Event::ClockTurned,
        "jump" => {
            let by_ms: i64 = args.first().parse().expect("a jump is a number of milliseconds");
            home.wall_ahead += by_ms;
            Event::ClockJumped { by_ms }
        }
        "add" => Event::OperatorAdded { by: args.get("by").map(name), operator: operator(&args) },
        "rotate" => Event::OperatorRotated { by: by(&args), name: name(args.first()), key: key(&args) },
        "remove" => Event::OperatorRemoved { by: by(&args), name: name(args.first()) },
        "start" => start(home, &args),
        "stop" => {
            let reason = match args.get("because") {
                Some("long") => "é".repeat(eparch_domain::limits::RATIONALE_BYTES),
                because => because.unwrap_or("enough").to_owned(),
            };
            Event::StopRequested { run: run_id(args.first()), by: by(&args), reason }
        }
        "revoke" => {
            let whose = args.first();
            let bearer = match whose.contains('#') {
                true => Bearer::Agent { agent: agent(home, whose) },
                false => Bearer::Run { run: run_id(whose) },
            };
            let reason = args.get("because").unwrap_or("not any more").to_owned();
            Event::RevokeRequested { bearer, by: by(&args), reason }
        }
        "stop-all" => Event::StopAllRequested {
            by: by(&args),
            reason: args.get("because").unwrap_or("everything is wrong").to_owned(),
        },
        "lift" => Event::StopAllLifted {
            by: by(&args),
            reason: args.get("because").unwrap_or("it is well again").to_owned(),
        },
        "break-glass" => Event::BreakGlassRequested(Box::new(break_glass(home, &args))),
        "let-pass" => glass_answer(home, &args, GateDecision::Approve),
        "forbid" => glass_answer(home, &args, GateDecision::Deny),
        "end-glass" => Event::BreakGlassEndRequested {
            grant: home.glass(args.first()),
            by: by(&args),
            reason: args.get("because").unwrap_or("it is over").to_owned(),
        },
        "promote" => Event::PromotionRequested {
            standing: standing(home, args.first()),
            by: by(&args),
            to: args.read("to"),
            rationale: said(&args, "rationale", "it earned it"),
        },
        "vouch" => vouch(home, &args, GateDecision::Approve),
        "doubt" => vouch(home, &args, GateDecision::Deny),
        "demote" => Event::DemotionRequested {
            standing: standing(home, args.first()),
            by: by(&args),
            reason: args.get("because").unwrap_or("not any more").to_owned(),
        },
        "policies" => {
            let policies = policies(args.first());
            home.governor.learn_policies(policies.clone());
            Event::PoliciesOffered { by: args.get("by").map(name), policies: policies.digest() }
        }
        "sanction" => policies_answer(&args, GateDecision::Approve),
        "object" => policies_answer(&args, GateDecision::Deny),
        "diagnostic" => Event::DiagnosticOffered {
            pipeline: match args.first() {
                "unknown" => Digest::of(b"nowhere"),
                wanted => home.pipelines[wanted].digest(),
            },
        },
        "asks" => {
            let key = args.get("key").unwrap_or("k1");
            return match args.read("times") {
                None => vec![asks(home, &args, key)],
                Some(times) => (1..=times).map(|at: u32| asks(home, &args, &format!("{key}{at}"))).collect(),
            };
        }
        "uses" => {
            let permit = home.permit(&args.plain[1]);
            Event::PermitUsed { agent: agent(home, args.first()), permit, params: params(&args) }
        }
        "performs" => {
            let permit = home.permit(&args.plain[1]);
            Event::PerformanceAsked { agent: agent(home, args.first()), permit, command: command(&args) }
        }
        "opens" => Event::PerformanceReady {
            agent: agent(home, args.first()),
            permit: home.permit(&args.plain[1]),
            tree: Some(serde_json::json!({ "pid": 7 })),
            confinement: Vec::new(),
        },
        "performed" => Event::PerformanceEnded {
            agent: agent(home, args.first()),
            permit: home.permit(&args.plain[1]),
            end: match args.plain.get(2).map(String::as_str) {
                None => PerformanceEnd::Code { code: 0 },
                Some("never") => {
                    PerformanceEnd::NeverRan { code: "EP0635".to_owned(), reason: "no sandbox".to_owned() }
                }
                Some("stopped") => PerformanceEnd::Stopped,
                Some(code) => PerformanceEnd::Code { code: code.parse().expect("an exit code") },
            },
            breaches: args.read("breaches").unwrap_or(0),
        },
        "did" => Event::ActionEnded {
            agent: agent(home, args.first()),
            permit: home.permit(&args.plain[1]),
            ok: args.plain.get(2).is_none_or(|word| word != "badly"),
            detail: args.get("detail").unwrap_or("done").to_owned(),
        },
        "reads" | "writes" => {
            let access = match words[0].as_str() {
                "reads" => SecretAccess::Read { version: args.read("version") },
                _ => SecretAccess::Write { expected: args.read("after") },
            };
            let tier = args.read("tier").unwrap_or(Tier::T4);
            Event::SecretAsked { by: by(&args), path: args.first().to_owned(), tier, access }
        }
        "served" => Event::SecretServed {
            asked: 1,
            by: by(&args),
            path: args.first().to_owned(),
            outcome: SecretOutcome::Read { version: 1 },
        },
        "releases" => Event::LockReleaseRequested {
            lock: name(args.first()),
            by: by(&args),
            reason: args.get("because").unwrap_or("it is needed").to_owned(),
        },
        // The wall clock moves and nobody says so: by less than what counts as a jump, or while nothing was written.
        "drifts" => {
            let by_ms: i64 = args.first().parse().expect("a drift is a number of milliseconds");
            home.wall_ahead += by_ms;
            return Vec::new();
        }
        "vouches" => Event::ClockVouched { by: by(&args) },
        "issued" => {
            let (run, agent) = match args.plain[1].contains('#') {
                true => (run_id(args.get("run").unwrap_or("r1")), Some(agent(home, &args.plain[1]))),
                false => (run_id(&args.plain[1]), None),
            };
            let lease = match args.get("lease") {
                Some(named) => home.lease_named(named),
                None => home.governor.lease(run).expect("the run has a lease").lease,
            };
            let at = args.get("at").map(str::to_owned);
            let credential = Credential { accessor: args.first().to_owned(), run, agent, at };
            Event::CredentialIssued { lease, credential }
        }
        "renewed" | "gone" | "lost" => Event::CredentialTold {
            accessor: args.first().to_owned(),
            outcome: match words[0].as_str() {
                "renewed" => CredentialOutcome::Renewed { ttl: Span::from_mins(30) },
                "gone" => CredentialOutcome::Ended,
                _ => CredentialOutcome::Over { code: "EP0914".to_owned() },
            },
        },
        "found" => Event::CredentialsFound {
            found: args
                .plain
                .iter()
                .map(|accessor| Credential {
                    accessor: accessor.clone(),
                    run: run_id("r1"),
                    agent: None,
                    at: args.get("at").map(str::to_owned),
                })
                .collect(),
        },
        "limited" => Event::CallsLimited { agent: agent(home, args.first()) },
        // The token of an agent, or one that nobody has.
        "shows-token" => Event::TokenShown {
            agent: agent(home, args.first()),
            token: Digest::of(format!("token of {}", args.plain[1]).as_bytes()),
        },
        "ready" => advanced(home, &args, &["bootstrap", "preflight", "plan"]),
        "exits" => {
            let code = args.plain.get(1).map_or("0", String::as_str);
            advanced(home, &args, &[&format!("exit-code:{code}")])
        }
        "concludes" => advanced(home, &args, &["verify", "package", "report", "exit"]),
        "completes" => {
            return vec![
                advanced(home, &args, &["bootstrap", "preflight", "plan"]),
                advanced(home, &args, &["exit-code:0"]),
                advanced(home, &args, &["verify", "package", "report", "exit"]),
            ];
        }
        "fails" => {
            return vec![
                advanced(home, &args, &["bootstrap", "preflight", "plan"]),
                advanced(home, &args, &["exit-code:1"]),
                advanced(home, &args, &["verify", "package", "report", "exit"]),
            ];
        }
        "does" => {
            let steps: Vec<&str> = args.plain[1..].iter().map(String::as_str).collect();
            advanced(home, &args, &steps)
        }
        "heartbeat" => signalled(home, &args, Signal::Heartbeat),
        "progress" => signalled(home, &args, Signal::Progress),
        "message" => signalled(home, &args, Signal::Message { to: None, content: Digest::of(b"hello") }),
        "error" => signalled(home, &args, Signal::Error { code: args.plain[1].clone() }),
        "output" => {
            let (name, value) = outputs(&args).into_iter().next().expect("an output is out.NAME=VALUE");
            signalled(home, &args, Signal::Output { name, value })
        }
        "dead" => {
            Event::TreeProvenDead { agent: agent(home, args.first()), killed: args.get("killed").is_some() }
        }
        "approve" => answer(home, &args, GateDecision::Approve),
        "deny" => answer(home, &args, GateDecision::Deny),
        other => panic!("no such event: {other}"),
    };
    vec![event]
}

/// `break-glass r1`, `r1/STAGE`, `a#1` or `next:NAME`, with `allow=ACTION:TARGET,…` and `time=30m`.
fn break_glass(home: &Home, args: &Args) -> BreakGlassRequest {
    let whom = args.first();
    let scope = match (whom.strip_prefix("next:"), whom.split_once('/')) {
        (Some(of), _) => GlassScope::NextRun { of: name(of) },
        (None, Some((run, stage))) => GlassScope::Stage { run: run_id(run), stage: name(stage) },
        (None, None) if whom.contains('#') => GlassScope::Agent { agent: agent(home, whom) },
        (None, None) => GlassScope::Run { run: run_id(whom) },
    };
    let allows = args.list("allow").into_iter().map(|entry| {
        let (action, target) = entry.split_once(':').expect("allow=ACTION:TARGET");
        Allowed { action: action.parse().expect("an action"), target: target.to_owned() }
    });
    BreakGlassRequest {
        by: by(args),
        scope,
        allows: allows.collect(),
        time: args.read("time").unwrap_or(Span::from_mins(30)),
        reason: said(args, "because", "production is down"),
    }
}

fn glass_answer(home: &Home, args: &Args, decision: GateDecision) -> Event {
    let (grant, by) = (home.glass(args.first()), by(args));
    let remote = args.plain.iter().any(|word| word == "remote");
    let signed = remote.then(|| SignedAnswer {
        signature: "5".repeat(128),
        public_key: public_key(args.get("key").unwrap_or(by.as_str())),
    });
    let shown = home.governor.break_glasses().find(|found| found.asked.grant == grant);
    let shown = shown.map_or(Digest::of(b"nothing"), |found| found.asked.subject);
    let subject = if args.get("subject").is_some() { Digest::of(b"something else") } else { shown };
    let rationale = said(args, "rationale", "looked at it");
    Event::BreakGlassAnswered(Box::new(BreakGlassAnswer { grant, by, signed, decision, subject, rationale }))
}

/// `std:a` is that of the first stage `a`.
fn standing(home: &Home, wanted: &str) -> StandingId {
    let known = home.names.standings.iter().find(|(_, name)| *name == wanted);
    known.map_or(StandingId::from_bits(99), |(standing, _)| *standing)
}

fn policies_answer(args: &Args, decision: GateDecision) -> Event {
    let by = by(args);
    let remote = args.plain.iter().any(|word| word == "remote");
    let signed = remote.then(|| SignedAnswer {
        signature: "5".repeat(128),
        public_key: public_key(args.get("key").unwrap_or(by.as_str())),
    });
    let policies = policies(args.first()).digest();
    let rationale = said(args, "rationale", "looked at it");
    Event::PoliciesAnswered(Box::new(PoliciesAnswer { by, signed, decision, policies, rationale }))
}

fn vouch(home: &Home, args: &Args, decision: GateDecision) -> Event {
    let (standing, by) = (standing(home, args.first()), by(args));
    let remote = args.plain.iter().any(|word| word == "remote");
    let signed = remote.then(|| SignedAnswer {
        signature: "5".repeat(128),
        public_key: public_key(args.get("key").unwrap_or(by.as_str())),
    });
    let shown = home.promotions.get(&standing).copied().unwrap_or(Digest::of(b"nothing"));
    let subject = if args.get("subject").is_some() { Digest::of(b"something else") } else { shown };
    let rationale = said(args, "rationale", "looked at it");
    Event::PromotionAnswered(PromotionAnswer { standing, by, signed, decision, subject, rationale })
}

fn asks(home: &Home, args: &Args, key: &str) -> Event {
    let (action, target) = (&args.plain[1], args.plain.get(2).map_or("", String::as_str));
    Event::ActionAsked(Box::new(ActionAsked {
        agent: agent(home, args.first()),
        tenant: name("acme"),
        project: name("web"),
        action: action.parse().expect("an action"),
        target: target.to_owned(),
        params: params(args),
        given: given(args),
        key: key.to_owned(),
    }))
}

/// What people are shown: the words of a command, or what an action is done with where the line says `shown`; of something else
/// with `shows=TEXT`.
fn given(args: &Args) -> Option<String> {
    let shown = args.plain.iter().any(|word| word == "shown");
    match (args.get("shows"), args.get("command"), args.get("with")) {
        (Some(text), ..) => Some(text.to_owned()),
        (None, Some(_), _) if !args.plain.iter().any(|word| word == "unseen") => {
            Some(command_text(&command(args)))
        }
        (None, None, Some(with)) if shown => Some(with.to_owned()),
        _ => None,
    }
}

/// The digest of what an action is done with; of nothing when the line says nothing.
fn params(args: &Args) -> Digest {
    if args.get("command").is_some() {
        return command_params(&command(args));
    }
    Digest::of(args.get("with").unwrap_or_default().as_bytes())
}

fn command(args: &Args) -> Vec<String> {
    args.get("command").expect("command=WORD,WORD").split(',').map(str::to_owned).collect()
}

/// The policies that ship, or others under another digest.
fn policies(named: &str) -> Arc<PolicySet> {
    let read_everything = "@id(\"all-look\") @reason(\"anybody_looks\")\n\
                           permit (principal is Agent, action in Action::\"look\", resource);";
    // People are asked about this machine; a place of the project is named from the root; and what was done is not done twice.
    let careful = "@id(\"localhost-ask\") @reason(\"team_rule\") @verdict(\"ask\")\n\
                   permit (principal is Agent, action == Action::\"execute_command\", resource == Host::\"localhost\")\n\
                   unless { context.approvals >= 1 };\n\
                   @id(\"keys-never\") @reason(\"team_rule\")\n\
                   forbid (principal is Agent, action, resource in Path::\"/project/docs/keys\");\n\
                   @id(\"sealed-named-from-the-root\") @reason(\"team_rule\") @breakable\n\
                   forbid (principal is Agent, action, resource in Path::\"/project/docs/sealed\");\n\
                   @id(\"shut-named-from-the-project\") @reason(\"team_rule\") @breakable\n\
                   forbid (principal is Agent, action, resource in Path::\"docs/shut\");\n\
                   @id(\"shut-named-from-the-root\") @reason(\"team_rule\")\n\
                   forbid (principal is Agent, action, resource in Path::\"/project/docs/shut/tight\");\n\
                   @id(\"once\") @reason(\"once_a_run\")\n\
                   forbid (principal is Agent, action == Action::\"docker_run\", resource)\n\
                   when { context.history.contains(\"docker_run\") };\n\
                   @id(\"not-after-a-container\") @reason(\"team_rule\")\n\
                   forbid (principal is Agent, action == Action::\"write_file\", resource)\n\
                   when { context.history.contains(\"docker_run\") };";
    // What one person may let be done, two have to once a container has run.
    let two_after = "@id(\"one\") @reason(\"approval_needed\") @verdict(\"ask\")\n\
                     permit (principal is Agent, action == Action::\"execute_command\", resource == Host::\"localhost\")\n\
                     when { context.approvals < 1 || context.history.contains(\"docker_run\") && context.approvals < 2 };\n\
                     @id(\"approved\") @reason(\"approved_target\")\n\
                     permit (principal is Agent, action == Action::\"execute_command\", resource == Host::\"localhost\")\n\
                     when { context.approvals >= 1 };";
    // Whatever is written people are asked about, wherever it lies.
    let writes = "@id(\"writes-ask\") @reason(\"team_rule\") @verdict(\"ask\")\n\
                  permit (principal is Agent, action == Action::\"write_file\", resource)\n\
                  unless { context.approvals >= 1 };\n\
                  @id(\"writes-approved\") @reason(\"approved_target\")\n\
                  permit (principal is Agent, action == Action::\"write_file\", resource)\n\
                  when { context.approvals >= 1 };";
    // Keys are told by the end of their name, wherever they lie; what lies in `vendor` is for nobody's logs.
    let by_name = "@id(\"no-keys\") @reason(\"team_rule\")\n\
                   forbid (principal is Agent, action in Action::\"look\", resource is Path)\n\
                   when { resource.name like \"*.pem\" };";
    let by_name_within = "@id(\"no-logs\") @reason(\"team_rule\")\n\
                          forbid (principal is Agent, action == Action::\"read_file\", resource in Path::\"vendor/web\")\n\
                          when { resource[\"n\\u{61}me\"] like \"*.log\" };";
    // What may be written is not all to be seen: one place is not read, one not listed, one not searched by whoever was let in, and of
    // one nothing more is said than of what is around it.
    let half_open = "@id(\"writes\") @reason(\"team_rule\")\n\
                     permit (principal is Agent, action == Action::\"write_file\", resource in Path::\"src\");\n\
                     @id(\"writes-free\") @reason(\"team_rule\")\n\
                     permit (principal is Agent, action == Action::\"write_file\", resource in Path::\"src/free\");\n\
                     @id(\"not-read\") @reason(\"team_rule\")\n\
                     forbid (principal is Agent, action == Action::\"read_file\", resource in Path::\"src/keys\");\n\
                     @id(\"not-listed\") @reason(\"team_rule\")\n\
                     forbid (principal is Agent, action == Action::\"list_directory\", resource in Path::\"/project/src/sealed\");\n\
                     @id(\"not-searched\") @reason(\"team_rule\") @verdict(\"ask\")\n\
                     permit (principal is Agent, action == Action::\"search_code\", resource in Path::\"src/large\");";
    // Of people, by name, what their roles would let them do.
    let people = "@id(\"no-builders-at-night\") @reason(\"night_shift\") @unlock(\"the morning\")\n\
                  forbid (principal == Operator::\"alice\", action == Action::\"spawn_agent\", resource in Tier::\"T2\");\n\
                  @id(\"bob-is-away\") @reason(\"away\")\n\
                  forbid (principal == Operator::\"bob\", action == Action::\"approve\", resource);\n\
                  @id(\"carol-with-somebody\") @reason(\"four_eyes\") @verdict(\"ask\") @unlock(\"somebody beside her\")\n\
                  permit (principal == Operator::\"carol\", action == Action::\"approve\", resource);\n\
                  @id(\"erin-not-for-root\") @reason(\"too_close\")\n\
                  forbid (principal == Operator::\"erin\", action in [Action::\"approve\", Action::\"promote\"], resource)\n\
                  when { context has requester && context.requester == \"root\" };\n\
                  @id(\"tom-not-for-alice\") @reason(\"too_close\")\n\
                  forbid (principal == Operator::\"tom\", action in [Action::\"approve\", Action::\"promote\"], resource)\n\
                  when { context has requester && context.requester == \"alice\" };\n\
                  @id(\"people-have-no-phases\") @reason(\"out_of_phase\")\n\
                  forbid (principal is Operator, action == Action::\"spawn_agent\", resource)\n\
                  unless { context.planned && context.phase == Phase::\"EXECUTE\" };\n\
                  @id(\"root-takes-nothing\") @reason(\"hands_off\")\n\
                  forbid (principal == Operator::\"root\", action in [Action::\"revoke\", Action::\"read_secret\"], resource);";
    // Nothing of what ships: what is not said here is said nowhere.
    let own = "@id(\"docs\") @reason(\"anybody_looks\")\n\
               permit (principal is Agent, action == Action::\"read_file\", resource in Path::\"docs\");\n\
               @id(\"keys-one\") @reason(\"team_rule\") @violation(\"FORBIDDEN_TARGET\")\n\
               forbid (principal is Agent, action, resource in Path::\"docs/keys\");\n\
               @id(\"keys-two\") @reason(\"team_rule\") @violation(\"SANDBOX_BREACH\")\n\
               forbid (principal is Agent, action, resource in Path::\"docs/keys\");\n\
               @id(\"commands\") @reason(\"anybody_works\")\n\
               permit (principal is Agent, action == Action::\"execute_command\", resource);\n\
               @id(\"no-root\") @reason(\"team_rule\") @violation(\"TIER_ESCALATION\")\n\
               forbid (principal is Agent, action == Action::\"access_vault_root\", resource);\n\
               @id(\"nothing-outside\") @reason(\"stay_here\")\n\
               forbid (principal is Agent, action, resource) when { context.outside };\n\
               @id(\"takes-away-from-the-small\") @reason(\"tidy\")\n\
               permit (principal is Agent, action == Action::\"revoke\", resource)\n\
               unless { resource in Tier::\"T2\" };\n\
               @id(\"people\") @reason(\"people_work\")\n\
               permit (principal is Operator, action, resource);";
    let grave = "@id(\"keys-three\") @reason(\"team_rule\") @violation(\"TIER_ESCALATION\")\n\
                 forbid (principal is Agent, action, resource in Path::\"docs/keys/root\");\n\
                 @id(\"governs-itself\") @reason(\"team_rule\") @violation(\"FORBIDDEN_TARGET\")\n\
                 forbid (principal is Agent, action == Action::\"modify_governance\", resource);";
    static DEFAULTS: OnceLock<Arc<PolicySet>> = OnceLock::new();
    if named == "defaults" {
        return DEFAULTS.get_or_init(|| Arc::new(PolicySet::defaults())).clone();
    }
    let mut files = eparch_policy::DEFAULTS.to_vec();
    match named {
        "half-open" => files.push(PolicyText { name: "half-open.cedar", text: half_open }),
        "by-name" => files.push(PolicyText { name: "by-name.cedar", text: by_name }),
        "by-name-within" => files.push(PolicyText { name: "by-name.cedar", text: by_name_within }),
        "people" => files.push(PolicyText { name: "own-people.cedar", text: people }),
        "two-after" => files.push(PolicyText { name: "two-after.cedar", text: two_after }),
        "careful" => files.push(PolicyText { name: "careful.cedar", text: careful }),
        "writes" => files.push(PolicyText { name: "writes.cedar", text: writes }),
        "open" => files.push(PolicyText { name: "open.cedar", text: read_everything }),
        "own" => files = vec![PolicyText { name: "own.cedar", text: own }],
        "grave" => {
            files = [("own.cedar", own), ("grave.cedar", grave)]
                .map(|(name, text)| PolicyText { name, text })
                .into()
        }
        "closed" => files.retain(|file| file.name.contains("always")),
        other => panic!("no such policies: {other}"),
    }
    Arc::new(PolicySet::load(&files).expect("they are without fault"))
}

/// What somebody says: as long as may be, longer, or as it stands there.
fn said(args: &Args, key: &str, otherwise: &str) -> String {
    match args.get(key) {
        Some("longest") => "x".repeat(eparch_domain::limits::RATIONALE_BYTES),
        Some("too-long") => "x".repeat(eparch_domain::limits::RATIONALE_BYTES + 1),
        Some("much-too-long") => "x".repeat(2 * eparch_domain::limits::RATIONALE_BYTES),
        text => text.unwrap_or(otherwise).to_owned(),
    }
}

fn by(args: &Args) -> Name {
    name(args.get("by").unwrap_or("alice"))
}

fn operator(args: &Args) -> Operator {
    let role: OperatorRole = args.read("role").unwrap_or(OperatorRole::Operator);
    let groups = args.list("groups").iter().map(|group| name(group)).collect();
    Operator {
        name: name(args.first()),
        role,
        groups,
        max_tier: args.read("tier").unwrap_or_default(),
        key: key(args),
    }
}

fn key(args: &Args) -> Key {
    // Everybody has a key of their own, named after them unless the line says otherwise.
    let named = args.get("key").unwrap_or(args.first());
    if args.plain.iter().any(|word| word == "remote") {
        Key::Remote { public_key: public_key(named) }
    } else {
        Key::Home { hash: Digest::of(named.as_bytes()) }
    }
}

fn public_key(named: &str) -> String {
    Digest::of(named.as_bytes()).hex()
}

fn start(home: &mut Home, args: &Args) -> Event {
    let run = run_id(args.first());
    home.names.runs.insert(run, args.first().to_owned());
    let wanted = args.get("pipeline").unwrap_or("main");
    let pipeline = home.pipelines.get(wanted).map_or(Digest::of(wanted.as_bytes()), |known| known.digest());
    let lineage = args.get("repeats").map(|text| {
        let (earlier, from) = text.split_once('/').expect("repeats=RUN/STAGE");
        let earlier = run_id(earlier);
        let (kept, mut forgiven) = (home.kept_from(earlier, &args.list("kept")), home.forgiven_in(earlier));
        // What a shell may claim, whatever the pipeline says.
        forgiven.extend(args.list("forgiven").iter().map(|stage| (name(stage), StageStatus::Failed)));
        Lineage { run: earlier, from: name(from), kept, forgiven }
    });
    Event::RunRequested(Box::new(RunRequest {
        run,
        pipeline,
        inputs: inputs(args),
        env: environment(args),
        requester: by(args),
        grant: args.read("grant"),
        root: sized(args, "root_bytes", args.get("root").unwrap_or("/project")),
        idempotency_key: args.get("key").map(|key| sized(args, "key_bytes", key)),
        lineage,
    }))
}

fn environment(args: &Args) -> BTreeMap<String, String> {
    let mut env = args.under("env");
    if let Some(bytes) = args.read::<usize>("env_bytes") {
        env.insert("x".to_owned(), "x".repeat(bytes - r#"{"x":""}"#.len()));
    }
    env
}

fn inputs(args: &Args) -> BTreeMap<String, Value> {
    let mut inputs: BTreeMap<_, _> =
        args.under("in").iter().map(|(key, text)| (key.clone(), value(text))).collect();
    if let Some(bytes) = args.read::<usize>("in_bytes") {
        inputs.insert("x".to_owned(), Value::from("x".repeat(bytes - r#"{"x":""}"#.len())));
    }
    inputs
}

/// A text, made as long as the line says: too long a one is no reading.
fn sized(args: &Args, bytes: &str, text: &str) -> String {
    let length = args.read(bytes).unwrap_or(text.len());
    format!("{text:x<length$}")
}

fn agent(home: &Home, wanted: &str) -> AgentId {
    let known = home.names.agents.iter().find(|(_, name)| *name == wanted);
    *known.unwrap_or_else(|| panic!("no agent {wanted} has begun")).0
}

fn signalled(home: &Home, args: &Args, signal: Signal) -> Event {
    Event::AgentSignalled { agent: agent(home, args.first()), signal }
}

fn advanced(home: &Home, args: &Args, steps: &[&str]) -> Event {
    let agent = agent(home, args.first());
    Event::AgentAdvanced {
        agent,
        outcomes: steps.iter().map(|step| outcome(home, agent, args, step)).collect(),
    }
}

fn manifest(home: &Home, agent: AgentId) -> Digest {
    Digest::of(format!("manifest of {}", home.names.agents[&agent]).as_bytes())
}

/// `bootstrap`, `preflight`, `preflight:CHECK` (that check fails), `preflight-of:CHECK,CHECK` (no others are made), `plan`,
/// `plan:PROBLEM`, `plan-of-nothing`, `exit-code:N`, `signal:N`, `out-of-memory:N` (and so it exits with N), `killed`, `verify`, `verify:CHECK`, `package`, `report`, `report:other` (of another package), `exit`,
/// `failed:PHASE:CODE:REASON`.
fn outcome(home: &Home, agent: AgentId, args: &Args, step: &str) -> Outcome {
    let (what, detail) = step.split_once(':').map_or((step, None), |(what, detail)| (what, Some(detail)));
    let ended = |ended| Outcome::Execute {
        ended,
        outputs: outputs(args),
        artifacts: artifacts(args),
        leftovers: 0,
        usage: Usage {
            out_of_memory: what == "out-of-memory",
            breaches: args.read("breaches").unwrap_or(0),
            ..Usage::default()
        },
    };
    match what {
        "bootstrap" => Outcome::Bootstrap {
            token: Digest::of(format!("token of {}", home.names.agents[&agent]).as_bytes()),
            packet: Digest::of(b"packet"),
            tree: Some(Value::from(format!("tree of {}", home.names.agents[&agent]))),
        },
        "preflight" => Outcome::Preflight {
            checks: checks(&["sandbox", "inventory", "dependencies"], detail),
            confinement: Vec::new(),
        },
        "preflight-of" => {
            let made: Vec<&str> = detail.unwrap_or_default().split(',').collect();
            Outcome::Preflight { checks: checks(&made, None), confinement: Vec::new() }
        }
        "plan" => Outcome::Plan {
            plan: Digest::of(b"the agent's plan"),
            actions: match args.list("may").is_empty() {
                true => vec!["execute_command".to_owned()],
                false => args.list("may").iter().map(|entry| entry.replace(':', " ")).collect(),
            },
            problem: detail.map(str::to_owned),
        },
        "plan-of-nothing" => {
            Outcome::Plan { plan: Digest::of(b"nothing"), actions: Vec::new(), problem: None }
        }
        "exit-code" | "out-of-memory" => {
            ended(Ended::Code { code: detail.unwrap_or("0").parse().expect("a code is a number") })
        }
        "signal" => {
            ended(Ended::Signal { signal: detail.unwrap_or("9").parse().expect("a signal is a number") })
        }
        "killed" => ended(Ended::Killed),
        "verify" => Outcome::Verify { checks: checks(&["tests", "artifacts"], detail) },
        "package" => Outcome::Package { manifest: manifest(home, agent) },
        "report" => {
            let package = if detail.is_some() { Digest::of(b"another") } else { manifest(home, agent) };
            Outcome::Report { report: Digest::of(b"report"), package }
        }
        "exit" => Outcome::Exit,
        "failed" => {
            let parts: Vec<&str> = detail.expect("failed:PHASE:CODE:REASON").splitn(3, ':').collect();
            let in_phase: Phase = parts[0].parse().expect("a phase");
            Outcome::Failed { in_phase, code: parts[1].to_owned(), reason: parts[2].to_owned() }
        }
        other => panic!("no such outcome: {other}"),
    }
}

fn checks(names: &[&str], failing: Option<&str>) -> Vec<Check> {
    let check = |name: &&str| {
        let ok = failing != Some(name);
        Check {
            name: (*name).to_owned(),
            ok,
            detail: if ok { "fine" } else { "it is not as it should be" }.to_owned(),
        }
    };
    names.iter().map(check).collect()
}

/// `out.NAME=VALUE`; `outputs=N` are so many more, `o000`, `o001` …
fn outputs(args: &Args) -> BTreeMap<String, Value> {
    let named = args.under("out").into_iter().map(|(name, text)| (name, value(&text)));
    let many = (0..args.read("outputs").unwrap_or(0)).map(|at: u32| (format!("o{at:03}"), at.into()));
    named.chain(many).collect()
}

/// `file.PATH=CONTENT`; `files=N` are so many more.
fn artifacts(args: &Args) -> Vec<Artifact> {
    let artifact = |(path, content): (&String, &String)| Artifact {
        path: path.clone(),
        digest: Digest::of(content.as_bytes()),
        size: content.len() as u64,
        grade: Grade::Final,
    };
    let many = (0..args.read("files").unwrap_or(0)).map(|at: u32| (format!("f{at:03}"), at.to_string()));
    let named: BTreeMap<String, String> = args.under("file").into_iter().chain(many).collect();
    named.iter().map(artifact).collect()
}

fn answer(home: &Home, args: &Args, decision: GateDecision) -> Event {
    let wanted = args.first();
    let known = home.names.gates.iter().find(|(_, name)| *name == wanted).map(|(gate, _)| *gate);
    let gate = known.unwrap_or(GateId::from_bits(99));
    let shown = home.subjects.get(&gate).copied().unwrap_or(Digest::of(b"nothing"));
    let remote = args.plain.iter().any(|word| word == "remote");
    let by = by(args);
    let signed = remote.then(|| SignedAnswer {
        signature: "5".repeat(128),
        public_key: public_key(args.get("key").unwrap_or(by.as_str())),
    });
    let rationale = said(args, "rationale", "looks right");
    Event::GateAnswered(GateAnswer {
        gate,
        by,
        signed,
        decision,
        subject: if args.get("subject").is_some() { Digest::of(b"something else") } else { shown },
        rationale,
    })
}
