//! One line of a scenario becomes the events it stands for.

use std::collections::BTreeMap;

use eparch_domain::{AgentId, Artifact, Digest, GateId, Grade, Name, Phase, RunId};
use eparch_governor::{
    Check, Ended, Event, GateAnswer, GateDecision, Key, Lineage, Operator, OperatorRole, Outcome, RunRequest,
    Separation, Signal, Usage,
};
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
            Event::Booted { epoch: home.epoch, version: "test".to_owned(), agents_at_once }
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
            let reason = args.get("because").unwrap_or("enough").to_owned();
            Event::StopRequested { run: run_id(args.first()), by: by(&args), reason }
        }
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
    if args.plain.iter().any(|word| word == "remote") {
        Key::Remote { public_key: "ab".repeat(32) }
    } else {
        Key::Home { hash: Digest::of(args.get("key").unwrap_or("a key").as_bytes()) }
    }
}

fn start(home: &mut Home, args: &Args) -> Event {
    let run = run_id(args.first());
    home.names.runs.insert(run, args.first().to_owned());
    let wanted = args.get("pipeline").unwrap_or("main");
    let pipeline = home.pipelines.get(wanted).map_or(Digest::of(wanted.as_bytes()), |known| known.digest());
    let lineage = args.get("repeats").map(|text| {
        let (earlier, from) = text.split_once('/').expect("repeats=RUN/STAGE");
        let kept = home.kept_from(run_id(earlier), &args.list("kept"));
        Lineage { run: run_id(earlier), from: name(from), kept }
    });
    Event::RunRequested(Box::new(RunRequest {
        run,
        pipeline,
        inputs: args.under("in").iter().map(|(key, text)| (key.clone(), value(text))).collect(),
        env: args.under("env"),
        requester: by(args),
        grant: args.read("grant"),
        root: "/project".to_owned(),
        idempotency_key: args.get("key").map(str::to_owned),
        lineage,
    }))
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

/// `bootstrap`, `preflight`, `preflight:CHECK` (that check fails), `plan`, `plan:PROBLEM`, `exit-code:N`, `signal:N`,
/// `killed`, `verify`, `verify:CHECK`, `package`, `report`, `report:other` (of another package), `exit`,
/// `failed:PHASE:CODE:REASON`.
fn outcome(home: &Home, agent: AgentId, args: &Args, step: &str) -> Outcome {
    let (what, detail) = step.split_once(':').map_or((step, None), |(what, detail)| (what, Some(detail)));
    let ended = |ended| Outcome::Execute {
        ended,
        outputs: outputs(args),
        artifacts: artifacts(args),
        leftovers: 0,
        usage: Usage::default(),
    };
    match what {
        "bootstrap" => Outcome::Bootstrap {
            token: Digest::of(b"token"),
            packet: Digest::of(b"packet"),
            tree: Some(Value::from(format!("tree of {}", home.names.agents[&agent]))),
        },
        "preflight" => Outcome::Preflight {
            checks: checks(&["sandbox", "inventory", "dependencies"], detail),
            confinement: Vec::new(),
        },
        "plan" => Outcome::Plan {
            plan: Digest::of(b"the agent's plan"),
            actions: vec!["execute_command".to_owned()],
            problem: detail.map(str::to_owned),
        },
        "exit-code" => {
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

fn outputs(args: &Args) -> BTreeMap<String, Value> {
    args.under("out").iter().map(|(name, text)| (name.clone(), value(text))).collect()
}

/// `file.PATH=CONTENT`.
fn artifacts(args: &Args) -> Vec<Artifact> {
    let artifact = |(path, content): (&String, &String)| Artifact {
        path: path.clone(),
        digest: Digest::of(content.as_bytes()),
        size: content.len() as u64,
        grade: Grade::Final,
    };
    args.under("file").iter().map(artifact).collect()
}

fn answer(home: &Home, args: &Args, decision: GateDecision) -> Event {
    let wanted = args.first();
    let known = home.names.gates.iter().find(|(_, name)| *name == wanted).map(|(gate, _)| *gate);
    let gate = known.unwrap_or(GateId::from_bits(99));
    let shown = home.subjects.get(&gate).copied().unwrap_or(Digest::of(b"nothing"));
    let remote = args.plain.iter().any(|word| word == "remote");
    let rationale = match args.get("rationale") {
        Some("too-long") => "x".repeat(eparch_domain::limits::RATIONALE_BYTES + 1),
        Some(text) => text.to_owned(),
        None => "looks right".to_owned(),
    };
    Event::GateAnswered(GateAnswer {
        gate,
        by: by(args),
        separation: if remote { Separation::RemoteKey } else { Separation::SameHome },
        decision,
        subject: if args.get("subject").is_some() { Digest::of(b"something else") } else { shown },
        rationale,
    })
}
