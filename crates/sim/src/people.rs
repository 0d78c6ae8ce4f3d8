//! The people of a world: who they are, how they answer gates, well or badly, and what they do about one another.

use eparch_domain::{Digest, Name, Tier};
use eparch_governor::{Event, GateAnswer, GateDecision, Key, Operator, OperatorRole, SignedAnswer};

use crate::dice::Dice;
use crate::seen::SeenGate;

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).expect("a word is a name")
}

fn home_key(of: &str) -> Key {
    Key::Home { hash: Digest::of(of.as_bytes()) }
}

fn remote_key(of: &str) -> Key {
    Key::Remote { public_key: Digest::of(of.as_bytes()).hex() }
}

fn person(who: &str, role: OperatorRole, max_tier: Tier, groups: &[&str], key: Key) -> Operator {
    let groups = groups.iter().map(|group| name(group)).collect();
    Operator { name: name(who), role, groups, max_tier, key }
}

/// Everybody who is known in a world, the first of them an admin; now and then there is a second.
pub(crate) fn people(dice: &mut Dice) -> Vec<Operator> {
    let mut known = vec![
        person("root", OperatorRole::Admin, Tier::T4, &[], home_key("root")),
        person("alice", OperatorRole::Operator, Tier::T3, &[], home_key("alice")),
        person("bob", OperatorRole::Approver, Tier::T0, &[], home_key("bob")),
        person("carol", OperatorRole::Approver, Tier::T0, &["leads"], home_key("carol")),
        person("dave", OperatorRole::Viewer, Tier::T0, &[], home_key("dave")),
        person("erin", OperatorRole::Approver, Tier::T0, &["leads"], remote_key("erin")),
        person("frank", OperatorRole::Operator, Tier::T1, &[], home_key("frank")),
    ];
    if dice.chance(60) {
        known.push(person("junior", OperatorRole::Admin, Tier::T2, &[], home_key("junior")));
    }
    known
}

/// Somebody's answer at a gate: mostly from somebody who may, about what is shown, with a reason, proven by their key.
/// Now and then from somebody who has answered already.
pub(crate) fn answer(dice: &mut Dice, gate: &SeenGate, known: &[Operator]) -> GateAnswer {
    let opened = &gate.opened;
    let anybody = ["bob", "bob", "carol", "erin", "erin", "gina", "alice", "dave", "root", "mallory"];
    let again = gate.votes.first().filter(|_| dice.chance(25)).cloned();
    let by = again.unwrap_or_else(|| name(dice.pick::<&str>(&anybody)));
    let whose = if dice.chance(88) { by.clone() } else { name(dice.pick::<&str>(&anybody)) };
    let key = known.iter().find(|operator| operator.name == whose).map(|operator| &operator.key);
    let public_key = match key {
        Some(Key::Remote { .. }) if dice.chance(8) => Some(Digest::of(b"stolen").hex()),
        Some(Key::Remote { public_key }) => Some(public_key.clone()),
        _ => None,
    };
    let signed = public_key.map(|public_key| SignedAnswer { signature: "5".repeat(128), public_key });
    GateAnswer {
        gate: opened.gate,
        by,
        signed,
        decision: if dice.chance(80) { GateDecision::Approve } else { GateDecision::Deny },
        subject: if dice.chance(92) { opened.subject } else { Digest::of(b"something else") },
        rationale: if dice.chance(92) { "looks right".to_owned() } else { " ".to_owned() },
    }
}

/// What somebody does about who may act: mostly an admin, and not always something they may.
pub(crate) fn administer(dice: &mut Dice, known: &[Operator]) -> Event {
    let by =
        name(dice.pick::<&str>(&["root", "root", "root", "junior", "junior", "puppet", "alice", "mallory"]));
    let anybody = ["gina", "gina", "puppet", "puppet", "erin", "carol", "junior", "root", "mallory"];
    let whom = if dice.chance(20) { by.clone() } else { name(dice.pick::<&str>(&anybody)) };
    match dice.below(5) {
        0..3 => {
            let by = dice.chance(95).then_some(by);
            Event::OperatorAdded { by, operator: newcomer(dice, whom, known) }
        }
        3 => Event::OperatorRotated { by, name: whom, key: key(dice, known) },
        _ => Event::OperatorRemoved { by, name: whom },
    }
}

/// Somebody has an approver of a gate give way to one of the same name, with a key of their own choice; or has somebody do
/// it whom they have only just made an admin.
pub(crate) fn replace(dice: &mut Dice, by: &Name, gate: &SeenGate, known: &[Operator]) -> Vec<Event> {
    let listed = |operator: &&Operator| gate.opened.approvers.contains(&operator.name);
    let listed: Vec<&Operator> = known.iter().filter(listed).collect();
    let approver = match listed.as_slice() {
        [] => person("erin", OperatorRole::Approver, Tier::T0, &["leads"], home_key("nobody's")),
        people => (*dice.pick(people)).clone(),
    };
    let key = if dice.chance(80) { remote_key(&dice.below(1 << 32).to_string()) } else { key(dice, known) };
    let mut events = Vec::new();
    let mut acting = by.clone();
    if dice.chance(40) {
        let puppet = person("puppet", OperatorRole::Admin, Tier::T1, &[], home_key(&format!("of {by}")));
        acting = puppet.name.clone();
        events.push(Event::OperatorAdded { by: Some(by.clone()), operator: puppet });
    }
    events.push(Event::OperatorRemoved { by: acting.clone(), name: approver.name.clone() });
    events.push(Event::OperatorAdded { by: Some(acting), operator: Operator { key, ..approver } });
    events
}

/// A puppet of somebody's, and a puppet of that one's that may approve.
pub(crate) fn puppets(by: &Name, puppet: &Name, doll: &Name, fresh: u64) -> Vec<Event> {
    let made = |who: &Name, role, key: Key| person(who.as_str(), role, Tier::T0, &["leads"], key);
    let maker = made(puppet, OperatorRole::Admin, home_key(&format!("of {by} {fresh}")));
    let approver = made(doll, OperatorRole::Approver, home_key(&format!("doll {fresh}")));
    vec![
        Event::OperatorAdded { by: Some(by.clone()), operator: maker },
        Event::OperatorRemoved { by: puppet.clone(), name: doll.clone() },
        Event::OperatorAdded { by: Some(puppet.clone()), operator: approver },
    ]
}

/// Somebody gives somebody another key.
pub(crate) fn rekeyed(by: Name, whom: &Name, fresh: u64) -> Event {
    let key =
        if fresh.is_multiple_of(2) { home_key(&fresh.to_string()) } else { remote_key(&fresh.to_string()) };
    Event::OperatorRotated { by, name: whom.clone(), key }
}

fn newcomer(dice: &mut Dice, who: Name, known: &[Operator]) -> Operator {
    let role = match who.as_str() {
        "puppet" | "junior" | "root" => OperatorRole::Admin,
        _ => *dice.pick(&[OperatorRole::Approver, OperatorRole::Approver, OperatorRole::Operator]),
    };
    let groups = if dice.chance(50) { vec![name("leads")] } else { Vec::new() };
    let max_tier = *dice.pick(&[Tier::T0, Tier::T1, Tier::T1, Tier::T2, Tier::T3]);
    Operator { name: who, role, groups, max_tier, key: key(dice, known) }
}

/// A key: mostly a fresh one, now and then one that somebody has, in other letters.
fn key(dice: &mut Dice, known: &[Operator]) -> Key {
    if dice.chance(15) && !known.is_empty() {
        return match &dice.pick(known).key {
            Key::Remote { public_key } => Key::Remote { public_key: public_key.to_uppercase() },
            home => home.clone(),
        };
    }
    let fresh = dice.below(1 << 32).to_string();
    if dice.chance(50) { home_key(&fresh) } else { remote_key(&fresh) }
}
