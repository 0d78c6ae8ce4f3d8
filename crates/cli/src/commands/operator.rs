//! People and programs that may act on a home.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use ed25519_dalek::SigningKey;
use eparch_daemon::wire::{AddOperator, OperatorView};
use eparch_domain::hex;
use serde_json::{Value, json};

use super::block_on;
use crate::args::Operator;
use crate::context::{Context, print_json};
use crate::failure::{Failure, exit};
use crate::holder::Desk;
use crate::output::outln;
use crate::table::{Table, plain};

/// `eparch operator …`.
pub(crate) fn carry_out(context: &Context, command: Operator) -> Result<u8, Failure> {
    match command {
        // Made where the key will stay, which need not be a machine with a home.
        Operator::Keygen { file } => keygen(context, &file),
        other => block_on(at_desk(context, other)),
    }
}

async fn at_desk(context: &Context, command: Operator) -> Result<u8, Failure> {
    let desk = Desk::open(context)?;
    match command {
        Operator::Add { name, role, groups, max_tier, public_key } => {
            let added: OperatorView = desk
                .post("/api/operators", &AddOperator { name, role, groups, max_tier, public_key })
                .await?;
            tell(context, &added, "Added")?;
            if added.key == "home" && !context.is_json() {
                let path = desk.home().keys().join("operators").join(format!("{}.key", added.name));
                outln!("Their key is {}. Whoever may read it acts as {}.", path.display(), added.name);
            }
        }
        Operator::List => {
            let all: Vec<OperatorView> = desk.get("/api/operators").await?;
            list(context, &all)?;
        }
        Operator::Rotate { name } => {
            let rotated: OperatorView =
                desk.post(&format!("/api/operators/{name}/rotate"), &json!({})).await?;
            tell(context, &rotated, "Gave a new key to")?;
        }
        Operator::Remove { name } => {
            let removed: Value = desk.delete(&format!("/api/operators/{name}")).await?;
            if context.is_json() {
                print_json(&removed)?;
            } else {
                outln!("Removed {name}.");
            }
        }
        Operator::Keygen { .. } => unreachable!("made without a home"),
    }
    Ok(exit::DONE)
}

fn tell(context: &Context, operator: &OperatorView, what: &str) -> Result<(), Failure> {
    if context.is_json() {
        return print_json(operator);
    }
    outln!(
        "{what} {}: {}, {} at most, key {} ({})",
        operator.name,
        operator.role.as_str(),
        operator.max_tier,
        operator.fingerprint,
        operator.key
    );
    Ok(())
}

fn list(context: &Context, all: &[OperatorView]) -> Result<(), Failure> {
    if context.is_json() {
        return print_json(&all);
    }
    let mut table = Table::new(&["OPERATOR", "ROLE", "MAX TIER", "GROUPS", "KEY", "FINGERPRINT"]);
    for operator in all {
        let groups: Vec<&str> = operator.groups.iter().map(eparch_domain::Name::as_str).collect();
        let cells = [
            operator.name.to_string(),
            operator.role.as_str().to_owned(),
            operator.max_tier.to_string(),
            groups.join(","),
            operator.key.clone(),
            operator.fingerprint.clone(),
        ];
        table.row(cells.map(plain));
    }
    table.print();
    Ok(())
}

/// Makes an Ed25519 key pair: the secret half in a new file that only its owner may read, the public half printed.
fn keygen(context: &Context, file: &Path) -> Result<u8, Failure> {
    let cannot = |why: &str| {
        Failure::new("EP0712", format!("cannot make {}: {why}", file.display()))
            .hint("name a file that is not there yet")
    };
    let mut seed = [0u8; 32];
    getrandom::fill(&mut seed).map_err(|problem| cannot(&problem.to_string()))?;
    let public = hex(SigningKey::from_bytes(&seed).verifying_key().as_bytes());
    let write = || -> std::io::Result<()> {
        let mut to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
        writeln!(to, "{}", hex(&seed))?;
        to.sync_all()
    };
    write().map_err(|problem| cannot(&problem.to_string()))?;
    if context.is_json() {
        print_json(&json!({ "public_key": public, "file": file }))?;
    } else {
        outln!("{public}");
        context.say(&format!("The secret half is in {}. Whoever keeps the home makes you known with:\n  eparch operator add NAME --role approver --public-key {public}", file.display()));
    }
    Ok(exit::DONE)
}
